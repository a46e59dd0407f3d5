"""Mode record: on disk before anyone sees it, failures asked again, nothing asked that another process asks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.recording import (
    KeepFailureResponder,
    KeepResponder,
    LockResponder,
    LookupResponder,
    PatientStore,
)
from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.dispatch.single_flight import RequestLocks
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import EmptyAnswerError, ImageUnreadableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request


def recording(inner: FakeResponder, store: ResponseStore, locks: RequestLocks | None = None) -> LookupResponder:
    patient = PatientStore(store, patience=0.0, observer=Observers())
    locks = locks or RequestLocks(store.folder, patience=1.0)
    layers = KeepFailureResponder(LockResponder(KeepResponder(inner, patient), patient, locks), patient)
    return LookupResponder(layers, patient, locks)


async def test_an_answer_is_asked_for_once(store: ResponseStore) -> None:
    async def act(request: Request) -> Answer:
        return Answer(request.prompt)

    inner = FakeResponder(act)
    responder = recording(inner, store)
    progresses = [RequestProgress(), RequestProgress()]
    answers = [await responder.answer(make_request("a"), progress) for progress in progresses]
    assert answers == [Answer("a")] * 2
    assert [progress.source for progress in progresses] == ["backend", "store"]
    assert len(inner.asked) == 1


async def test_a_failure_is_kept_for_replay_and_asked_again(store: ResponseStore) -> None:
    async def act(_: Request) -> Answer:
        if failures:
            raise failures.pop()
        return Answer("x")

    failures = [EmptyAnswerError("nothing")]
    responder = recording(FakeResponder(act), store)
    with pytest.raises(EmptyAnswerError):
        await responder.answer(make_request(), RequestProgress())
    entry = await store.get(make_request().key)
    assert entry is not None
    assert not isinstance(entry.ending, Answer)
    progress = RequestProgress()
    assert (await responder.answer(make_request(), progress)).text == "x"
    assert progress.source == "backend"


async def test_errors_that_are_not_the_backends_are_not_kept(store: ResponseStore) -> None:
    async def act(_: Request) -> Answer:
        raise ImageUnreadableError("cat.png", "gone")

    with pytest.raises(ImageUnreadableError):
        await recording(FakeResponder(act), store).answer(make_request(), RequestProgress())
    assert await store.get(make_request().key) is None


@pytest.fixture
async def two(store: ResponseStore) -> AsyncIterator[tuple[RequestLocks, RequestLocks]]:
    pair = RequestLocks(store.folder, patience=5.0), RequestLocks(store.folder, patience=5.0)
    for locks in pair:
        locks.open()
    yield pair
    for locks in pair:
        locks.close()


async def test_what_another_is_asking_is_waited_for_and_taken_from_the_store(
    store: ResponseStore, two: tuple[RequestLocks, RequestLocks]
) -> None:
    async def slow(request: Request) -> Answer:
        await go.wait()
        return Answer("the first one's")

    async def never(_: Request) -> Answer:
        raise AssertionError("asked twice")

    go = asyncio.Event()
    first = asyncio.create_task(recording(FakeResponder(slow), store, two[0]).answer(make_request(), RequestProgress()))
    await asyncio.sleep(0.05)
    progress = RequestProgress()
    second = asyncio.create_task(recording(FakeResponder(never), store, two[1]).answer(make_request(), progress))
    while progress.phase != "sharing":
        await asyncio.sleep(0.01)
    go.set()
    assert (await asyncio.wait_for(second, 5)).text == "the first one's"
    assert (progress.source, progress.attempts) == ("store", 0)
    await first


async def test_when_the_other_fails_it_is_asked_here(
    store: ResponseStore, two: tuple[RequestLocks, RequestLocks]
) -> None:
    async def fails(_: Request) -> Answer:
        await asyncio.sleep(0.05)
        raise EmptyAnswerError("nothing")

    async def answers(_: Request) -> Answer:
        return Answer("mine")

    first = asyncio.create_task(
        recording(FakeResponder(fails), store, two[0]).answer(make_request(), RequestProgress())
    )
    await asyncio.sleep(0.02)
    assert (
        await recording(FakeResponder(answers), store, two[1]).answer(make_request(), RequestProgress())
    ).text == "mine"
    with pytest.raises(EmptyAnswerError):
        await first


async def test_a_claim_ends_with_its_request_however_that_ends(
    store: ResponseStore, two: tuple[RequestLocks, RequestLocks], folder: Path
) -> None:
    async def hang(_: Request) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    key = make_request().key
    task = asyncio.create_task(recording(FakeResponder(hang), store, two[0]).answer(make_request(), RequestProgress()))
    await asyncio.sleep(0.05)
    assert not two[1].take(key)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert two[1].take(key)
