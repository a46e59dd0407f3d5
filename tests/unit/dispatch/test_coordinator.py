"""The whole way of a request, and that nothing is left behind."""

import asyncio
import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ants_engine import errors
from ants_engine.dispatch import coordinator as coordinator_module
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.throughput_monitor import Counts
from ants_engine.protocol import JSON, Answer, Call, Capabilities
from tests.unit.dispatch.fakes import IDENTITY, FakeBackend, make_request, make_settings, no_sleep


def coordinator(folder: Path, backend: FakeBackend, **dispatch: Any) -> Coordinator:
    settings = make_settings(folder, **dispatch)
    return Coordinator(settings, backend=backend, sleep=no_sleep, jitter=random.Random(1))


def requests(count: int) -> list[Request]:
    return [make_request(f"{number}") for number in range(count)]


async def run(folder: Path, backend: FakeBackend, asked: list[Request], **dispatch: Any) -> list[Outcome]:
    async with coordinator(folder, backend, **dispatch) as opened:
        return list(await asyncio.gather(*(opened.submit(request) for request in asked)))


async def test_answers_come_from_the_backend_then_from_the_store(folder: Path) -> None:
    backend, asked = FakeBackend(), requests(20)
    first = await run(folder, backend, asked)
    again = await run(folder, backend, asked)
    assert len(backend.calls) == 20
    assert [outcome.answer for outcome in first] == [outcome.answer for outcome in again]
    assert {(outcome.source, outcome.attempts) for outcome in first} == {("backend", 1)}
    assert {(outcome.source, outcome.attempts) for outcome in again} == {("store", 0)}
    assert [outcome.request for outcome in first] == asked


async def test_live_neither_reads_nor_stores(folder: Path) -> None:
    backend = FakeBackend()
    for _ in range(2):
        await run(folder, backend, requests(3), mode="live")
    assert len(backend.calls) == 6
    assert not folder.exists()


async def test_requests_leave_in_order_up_to_the_backends_own_limit_or_the_settings(folder: Path) -> None:
    async def act(call: Call) -> Answer:
        await asyncio.sleep(0.001)
        return Answer(call.prompt)

    for limit, peak in ((None, 4), (2, 2)):
        backend = FakeBackend(act, Capabilities(max_concurrency=4))
        async with coordinator(folder, backend, mode="live", max_concurrency=limit) as opened:
            assert opened.slots == opened.capabilities.max_concurrency == peak
            await asyncio.gather(*(opened.submit(request) for request in requests(12)))
        assert backend.peak == peak
        assert [call.prompt for call in backend.calls] == [f"{number}" for number in range(12)]


async def test_one_failure_costs_one_answer(folder: Path) -> None:
    def act(call: Call) -> Answer:
        match call.prompt:
            case "1":
                raise errors.BackendUnavailableError("down")
            case "2":
                raise KeyError("a defect")
            case "3":
                return Answer("")
        return Answer("fine")

    outcomes = await run(folder, FakeBackend(act), requests(5), attempts=3)
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        errors.BackendUnavailableError,
        errors.FinalBackendError,
        errors.EmptyAnswerError,
        type(None),
    ]
    assert [outcome.attempts for outcome in outcomes] == [1, 3, 1, 1, 1]
    assert all((outcome.answer is None) == (outcome.error is not None) for outcome in outcomes)


async def test_equal_requests_at_once_are_one_call(folder: Path) -> None:
    backend = FakeBackend()
    outcomes = await run(folder, backend, [make_request()] * 10)
    assert len(backend.calls) == 1
    assert len({outcome.answer for outcome in outcomes}) == 1


async def test_counts_add_up_all_the_way(folder: Path) -> None:
    def act(call: Call) -> Answer:
        if call.prompt == "1" and len(seen) < 3:
            seen.append(call.prompt)
            raise errors.RateLimitError("slow")
        if call.prompt == "2":
            raise errors.QuotaError("spent")
        return Answer("x")

    seen: list[str] = []
    counts: list[Counts] = []
    await run(folder, FakeBackend(), [make_request("0")])
    async with Coordinator(
        make_settings(folder), backend=FakeBackend(act), on_progress=counts.append, sleep=no_sleep
    ) as opened:
        await asyncio.gather(*(opened.submit(request) for request in requests(6)))
        assert opened.counts == counts[-1] == Counts(asked=6, answered=5, from_store=1, failed=1)
    assert any(each.retrying for each in counts)
    assert any(each.in_flight for each in counts)
    assert all(min(each.waiting, each.in_flight, each.storing, each.retrying, each.sharing) >= 0 for each in counts)
    assert counts[-1].waiting == 0


async def test_a_progress_callback_that_fails_costs_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Counts) -> None:
        raise ZeroDivisionError

    async with Coordinator(make_settings(folder), backend=FakeBackend(), on_progress=broken) as opened:
        outcomes = await asyncio.gather(*(opened.submit(request) for request in requests(3)))
    assert all(outcome.answer for outcome in outcomes)
    assert caplog.text.count("the progress callback failed") == 1


async def hang(_: Call) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_leaving_by_an_error_cancels_and_passes_that_error_on_as_it_is(folder: Path) -> None:
    backend = FakeBackend(hang)
    before = len(asyncio.all_tasks()), threading.active_count()
    with pytest.raises(ZeroDivisionError):
        async with coordinator(folder, backend) as opened:
            tasks = [opened.submit(request) for request in requests(9)]
            while backend.in_flight < 4:
                await asyncio.sleep(0.001)
            raise ZeroDivisionError
    assert all(task.cancelled() for task in tasks)
    assert backend.in_flight == 0
    assert (len(asyncio.all_tasks()), threading.active_count()) == before


async def test_a_timeout_around_it_ends_everything(folder: Path) -> None:
    async def work() -> None:
        async with coordinator(folder, backend) as opened:
            await asyncio.gather(*(opened.submit(request) for request in requests(9)))

    backend = FakeBackend(hang)
    before = len(asyncio.all_tasks()), threading.active_count()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.1)
    assert backend.in_flight == 0
    assert (len(asyncio.all_tasks()), threading.active_count()) == before


async def test_leaving_normally_waits_for_what_was_submitted(folder: Path) -> None:
    async with coordinator(folder, FakeBackend()) as opened:
        tasks = [opened.submit(request) for request in requests(9)]
    assert all(task.result().answer for task in tasks)


async def test_one_request_can_be_cancelled(folder: Path) -> None:
    async with coordinator(folder, FakeBackend(hang)) as opened:
        tasks = [opened.submit(request) for request in requests(2)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert opened.counts == Counts()


async def test_it_closes_the_backend_that_it_made_and_not_the_one_that_it_was_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FakeBackend()
    await run(folder, backend, requests(1))
    assert backend.closed == 0
    monkeypatch.setattr(coordinator_module, "create_backend", lambda _: backend)
    async with Coordinator(make_settings(folder)):
        pass
    assert backend.closed == 1


async def test_used_outside_of_its_context_it_says_so(folder: Path) -> None:
    opened = coordinator(folder, FakeBackend())
    with pytest.raises(errors.UsageError, match="not open"):
        opened.submit(make_request())
    with pytest.raises(errors.UsageError, match="not open"):
        _ = opened.identity
    async with opened:
        assert opened.identity == IDENTITY
    with pytest.raises(errors.UsageError, match="closed"):
        opened.submit(make_request())


class Nameless(FakeBackend):
    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure = failure

    async def identity(self) -> Mapping[str, JSON]:
        raise self.failure


async def test_a_backend_that_cannot_say_which_model_it_is_is_an_error(folder: Path) -> None:
    before = set(threading.enumerate())
    for failure, kind in (
        (errors.ModelNotFoundError("no weights"), errors.ModelNotFoundError),
        (KeyError("x"), errors.FinalBackendError),
    ):
        with pytest.raises(kind):
            await coordinator(folder, Nameless(failure)).__aenter__()
    odd: list[Any] = [{}, {"a": object()}, {"a": float("inf")}, {"a": "\ud800"}]
    for identity in odd:
        backend = FakeBackend()
        backend.identified = identity
        with pytest.raises(errors.ProtocolError):
            await coordinator(folder, backend).__aenter__()
    assert set(threading.enumerate()) <= before


async def test_what_is_recorded_says_which_model_it_was(folder: Path) -> None:
    backend = FakeBackend(capabilities=Capabilities(pictures=False))
    await run(folder, backend, [])
    async with ResponseStore(folder) as store:
        (recorded,) = await store.get_identities()
    assert (recorded.backend, recorded.model, recorded.identity) == ("FakeBackend", "", IDENTITY)
    assert (recorded.pictures, recorded.text_only) == (False, True)


async def test_no_more_answers_are_paid_for_and_not_yet_on_disk_than_there_are_slots(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(*_: object) -> None:
        await disk.wait()

    disk = asyncio.Event()
    backend = FakeBackend(capabilities=Capabilities(max_concurrency=3))
    async with coordinator(folder, backend) as opened:
        monkeypatch.setattr(ResponseStore, "keep", slow)
        tasks = [opened.submit(request) for request in requests(20)]
        while len(backend.calls) < 3 or backend.in_flight:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert len(backend.calls) == 3
        disk.set()
        await asyncio.gather(*tasks)
