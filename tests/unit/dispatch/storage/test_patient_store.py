"""A store that goes away and comes back, or does not: nothing that was answered is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.recording import PatientStore
from ants_engine.dispatch.storage.cassette import import_
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeBackend, make_request, make_settings


class Outage:
    """Takes the store's folder away, and puts a file in its place, so that none can be made anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.away = folder.with_name("away")

    def begin(self) -> None:
        self.folder.rename(self.away)
        self.folder.write_text("in the way")

    def end(self) -> None:
        self.folder.unlink()
        self.away.rename(self.folder)


class Watching(Observers):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def event(self, kind: str, **facts: object) -> None:
        self.kinds.append(kind)


@pytest.fixture
async def seen() -> AsyncIterator[Watching]:
    yield Watching()


def patient(store: ResponseStore, seen: Watching, patience: float) -> PatientStore:
    async def soon(_: float) -> None:
        await asyncio.sleep(0.02)

    return PatientStore(store, patience=patience, observer=seen, sleep=soon)


def entry(prompt: str) -> Entry:
    return Entry(make_request(prompt), Answer(f"answer to {prompt}"))


async def test_those_who_keep_wait_until_the_store_is_back(folder: Path, seen: Watching) -> None:
    outage = Outage(folder)
    async with ResponseStore(folder) as store:
        keeper = patient(store, seen, 30.0)
        await keeper.keep(entry("before"))
        outage.begin()
        waiting = [asyncio.create_task(keeper.keep(entry(prompt))) for prompt in "abc"]
        looking = asyncio.create_task(keeper.get(make_request("before").key))
        while "store_unavailable" not in seen.kinds:
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        outage.end()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        found = await looking
        assert found is not None
        assert found.ending == Answer("answer to before")
        await keeper.aclose()
    assert seen.kinds == ["store_unavailable", "store_back"]
    async with ResponseStore(folder, strict=True) as store:
        assert {each.request.prompt async for each in store.entries()} == {"before", "a", "b", "c"}


async def test_a_folder_that_was_deleted_is_made_anew(folder: Path, seen: Watching) -> None:
    async with ResponseStore(folder) as store:
        keeper = patient(store, seen, 30.0)
        await keeper.keep(entry("before"))
        folder.rename(folder.with_name("away"))
        await asyncio.wait_for(keeper.keep(entry("after")), 10)
        await keeper.aclose()
    async with ResponseStore(folder, strict=True) as store:
        assert {each.request.prompt async for each in store.entries()} == {"after"}


async def test_when_it_does_not_come_back_all_answers_are_rescued_and_nothing_more_is_kept(
    folder: Path, seen: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage(folder)
    async with ResponseStore(folder) as store:
        keeper = patient(store, seen, 0.1)
        outage.begin()
        failure = Entry(make_request("failed"), Failure("EmptyAnswerError", "nothing"))
        endings = await asyncio.gather(
            *(keeper.keep(each) for each in (entry("a"), entry("b"), failure)), return_exceptions=True
        )
        assert [type(each) for each in endings] == [StoreUnavailableError] * 3
        with pytest.raises(StoreUnavailableError):
            keeper.check()
        (rescued,) = tmp_rescued(folder)
        assert f"ants store import {rescued}" in caplog.text
        await keeper.aclose()
    outage.end()
    async with ResponseStore(folder) as store:
        assert await import_(rescued, store) == 3
        assert {each.request.prompt async for each in store.entries()} == {"a", "b", "failed"}


async def test_what_is_held_at_the_end_is_written_or_rescued(folder: Path, seen: Watching) -> None:
    outage = Outage(folder)
    async with ResponseStore(folder) as store:
        keeper = patient(store, seen, 30.0)
        outage.begin()
        task = asyncio.create_task(keeper.keep(entry("held")))
        while "store_unavailable" not in seen.kinds:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await keeper.aclose()
        (rescued,) = tmp_rescued(folder)
        assert "answer to held" in rescued.read_text()


async def test_during_an_outage_no_more_is_asked_than_there_are_slots(folder: Path) -> None:
    outage = Outage(folder)
    backend = FakeBackend()
    async with Coordinator(make_settings(folder, max_concurrency=3), backend=backend) as coordinator:
        assert (await coordinator.submit(make_request("first"))).answer
        outage.begin()
        tasks = [coordinator.submit(make_request(f"{number}")) for number in range(20)]
        await asyncio.sleep(0.3)
        # the lookups wait as well: nothing at all is asked while nobody knows what is stored
        assert len(backend.calls) <= 1 + 3
        outage.end()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert all(outcome.answer for outcome in outcomes)


def tmp_rescued(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob("*rescued*"))
