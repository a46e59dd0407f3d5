"""Mode record: on disk before anyone sees it, failures asked again, nothing paid for that cannot be kept."""

import sqlite3
from pathlib import Path

import pytest

from ants_engine.dispatch.recording import KeepResponder, LookupResponder
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.store import ResponseStore
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import EmptyAnswerError, ImageUnreadableError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request


def recording(inner: FakeResponder, store: ResponseStore) -> LookupResponder:
    return LookupResponder(KeepResponder(inner, store), store)


async def test_an_answer_is_asked_for_once(store: ResponseStore) -> None:
    async def act(request: Request) -> Answer:
        return Answer(request.prompt)

    inner = FakeResponder(act)
    responder = recording(inner, store)
    traces = [Trace(), Trace()]
    answers = [await responder.answer(make_request("a"), trace) for trace in traces]
    assert answers == [Answer("a")] * 2
    assert [trace.source for trace in traces] == ["backend", "store"]
    assert len(inner.asked) == 1


async def test_a_failure_is_kept_for_replay_and_asked_again(store: ResponseStore) -> None:
    async def act(_: Request) -> Answer:
        if failures:
            raise failures.pop()
        return Answer("x")

    failures = [EmptyAnswerError("nothing")]
    responder = recording(FakeResponder(act), store)
    with pytest.raises(EmptyAnswerError):
        await responder.answer(make_request(), Trace())
    entry = await store.get(make_request().key)
    assert entry is not None
    assert not isinstance(entry.ending, Answer)
    trace = Trace()
    assert (await responder.answer(make_request(), trace)).text == "x"
    assert trace.source == "backend"


async def test_errors_that_are_not_the_backends_are_not_kept(store: ResponseStore) -> None:
    async def act(_: Request) -> Answer:
        raise ImageUnreadableError("cat.png", "gone")

    with pytest.raises(ImageUnreadableError):
        await recording(FakeResponder(act), store).answer(make_request(), Trace())
    assert await store.get(make_request().key) is None


async def test_once_an_answer_could_not_be_kept_nothing_more_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(request: Request) -> Answer:
        return Answer(request.prompt)

    inner = FakeResponder(act)
    async with ResponseStore(folder) as store:
        responder = recording(inner, store)

        def full(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr("diskcache.Cache.set", full)
        for prompt in "abc":
            with pytest.raises(StoreUnavailableError, match="disk is full"):
                await responder.answer(make_request(prompt), Trace())
        monkeypatch.undo()
    assert len(inner.asked) == 1
