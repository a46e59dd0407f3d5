"""Equal requests share one call, for better or worse; who leaves, leaves alone."""

import asyncio
import gc

import pytest

from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.dispatch.single_flight import SingleFlight
from ants_engine.errors import QuotaError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request


class Runway:
    """An inner responder whose calls end when told."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.failure: Exception | None = None
        self.cancelled = 0
        self.responder = FakeResponder(self.act)

    async def act(self, request: Request) -> Answer:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure
        return Answer(request.prompt)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_equal_requests_share_one_call_and_others_do_not() -> None:
    runway = Runway()
    flight = SingleFlight(runway.responder)
    tasks = [asyncio.create_task(flight.answer(make_request(prompt), RequestProgress())) for prompt in "aabab"]
    await settle()
    assert len(runway.responder.asked) == 2
    runway.go.set()
    assert [answer.text for answer in await asyncio.gather(*tasks)] == list("aabab")
    await flight.answer(make_request("a"), RequestProgress())
    assert len(runway.responder.asked) == 3


async def test_an_error_reaches_all_and_is_not_kept() -> None:
    runway = Runway()
    runway.failure = QuotaError("spent")
    flight = SingleFlight(runway.responder)
    tasks = [asyncio.create_task(flight.answer(make_request(), RequestProgress())) for _ in range(3)]
    await settle()
    runway.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [runway.failure] * 3
    runway.failure = None
    assert (await flight.answer(make_request(), RequestProgress())).text


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_one_who_is_cancelled_leaves_the_others_alone(leaver: int) -> None:
    runway = Runway()
    flight = SingleFlight(runway.responder)
    tasks = [asyncio.create_task(flight.answer(make_request(), RequestProgress())) for _ in range(3)]
    await settle()
    tasks[leaver].cancel()
    await settle()
    assert tasks[leaver].cancelled()
    assert runway.cancelled == 0
    runway.go.set()
    others = [task for index, task in enumerate(tasks) if index != leaver]
    assert len({answer.text for answer in await asyncio.gather(*others)}) == 1
    assert len(runway.responder.asked) == 1


async def test_when_all_have_left_the_call_ends_and_a_newcomer_starts_another() -> None:
    runway = Runway()
    flight = SingleFlight(runway.responder)
    before = len(asyncio.all_tasks())
    tasks = [asyncio.create_task(flight.answer(make_request(), RequestProgress())) for _ in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert runway.cancelled == 1
    assert len(asyncio.all_tasks()) == before
    runway.go.set()
    assert (await flight.answer(make_request(), RequestProgress())).text
    assert len(runway.responder.asked) == 2


async def test_an_error_that_nobody_waits_for_any_more_makes_no_noise() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def stubborn(_: Request) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            raise QuotaError("while being cancelled")

    flight = SingleFlight(FakeResponder(stubborn))
    task = asyncio.create_task(flight.answer(make_request(), RequestProgress()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await settle()
    assert complaints == []


async def test_all_see_what_the_call_is_doing() -> None:
    class Talking:
        async def answer(self, request: Request, progress: RequestProgress) -> Answer:
            progress.update(phase="asking", attempts=2)
            await go.wait()
            progress.update(phase="waiting", source="store")
            return Answer("x")

    go = asyncio.Event()
    flight = SingleFlight(Talking())
    progresses = [RequestProgress(), RequestProgress()]
    first = asyncio.create_task(flight.answer(make_request(), progresses[0]))
    await settle()
    second = asyncio.create_task(flight.answer(make_request(), progresses[1]))
    await settle()
    assert [(progress.phase, progress.attempts) for progress in progresses] == [("asking", 2)] * 2
    go.set()
    await asyncio.gather(first, second)
    assert [(progress.phase, progress.source) for progress in progresses] == [("waiting", "store")] * 2
