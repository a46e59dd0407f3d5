"""Tries pass the gate one by one, those of requests that were tried before first, and the gate learns from each."""

import asyncio
import math

import pytest

from ants_engine.dispatch.limits.gate import Gate, LimitResponder, Permit
from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.errors import BackendError, BackendTimeoutError, RateLimitError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request


class Watching(Gate):
    def __init__(self, ceiling: int) -> None:
        super().__init__(ceiling)
        self.endings: list[BackendError | None] = []
        self.asked: list[bool] = []

    def release(self, permit: Permit, error: BackendError | None = None, tokens: int | None = None) -> None:
        self.endings.append(error)
        self.asked.append(permit.asked)
        super().release(permit, error, tokens)


async def test_slots_bound_what_is_in_flight_and_are_given_in_order() -> None:
    running = peak = 0

    async def act(request: Request) -> Answer:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001)
        running -= 1
        if request.prompt == "3":
            raise BackendTimeoutError("x")
        return Answer(request.prompt)

    inner = FakeResponder(act)
    responder = LimitResponder(inner, Gate(3))
    requests = [make_request(str(number)) for number in range(20)]
    results = await asyncio.gather(
        *(responder.answer(each, RequestProgress()) for each in requests), return_exceptions=True
    )
    assert peak == 3
    assert inner.asked == requests
    assert isinstance(results[3], BackendTimeoutError)


async def test_one_who_is_cancelled_gives_its_slot_back() -> None:
    async def act(request: Request) -> Answer:
        if request.prompt == "hang":
            await asyncio.Event().wait()
        return Answer("x")

    responder = LimitResponder(FakeResponder(act), Gate(1))
    first = asyncio.create_task(responder.answer(make_request("hang"), RequestProgress()))
    queued = asyncio.create_task(responder.answer(make_request("queued"), RequestProgress()))
    last = asyncio.create_task(responder.answer(make_request("last"), RequestProgress()))
    await asyncio.sleep(0)
    queued.cancel()
    await asyncio.sleep(0)
    first.cancel()
    assert (await last).text == "x"


async def test_one_who_is_let_in_and_cancelled_at_the_same_moment_gives_its_slot_back() -> None:
    gate = Gate(1)
    held = await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.release(held)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.in_flight == 0
    await asyncio.wait_for(gate.enter(), 1)


async def test_a_gate_learns_how_tries_ended_and_which_were_not_needed() -> None:
    class Inner:
        async def answer(self, request: Request, progress: RequestProgress) -> Answer:
            if request.prompt == "stored":
                return Answer("x")
            progress.update(attempts=progress.attempts + 1)
            if request.prompt == "bad":
                raise failure
            return Answer("x")

    failure = RateLimitError("x")
    gate = Watching(1)
    responder = LimitResponder(Inner(), gate)
    await responder.answer(make_request("good"), RequestProgress())
    await responder.answer(make_request("stored"), RequestProgress())
    with pytest.raises(RateLimitError):
        await responder.answer(make_request("bad"), RequestProgress())
    assert gate.endings == [None, None, failure]
    assert gate.asked == [True, False, True]


async def test_a_request_that_was_tried_before_goes_first() -> None:
    async def act(request: Request) -> Answer:
        await go.wait()
        return Answer(request.prompt)

    go = asyncio.Event()
    inner = FakeResponder(act)
    responder = LimitResponder(inner, Gate(1))
    again = RequestProgress()
    again.attempts = 1
    async with asyncio.TaskGroup() as group:
        for prompt in "abc":
            group.create_task(responder.answer(make_request(prompt), RequestProgress()))
        await asyncio.sleep(0)
        group.create_task(responder.answer(make_request("again"), again))
        await asyncio.sleep(0)
        go.set()
    assert [request.prompt for request in inner.asked] == ["a", "again", "b", "c"]


async def test_the_deadline_also_ends_the_wait_for_another_try() -> None:
    gate = Gate(1)
    await gate.enter()
    progress = RequestProgress()
    progress.attempts, progress.end = 1, asyncio.get_running_loop().time() + 0.02
    responder = LimitResponder(FakeResponder(lambda _: asyncio.sleep(0, Answer("x"))), gate)
    with pytest.raises(BackendTimeoutError, match="deadline"):
        await asyncio.wait_for(responder.answer(make_request(), progress), 5)
    assert progress.end < math.inf
