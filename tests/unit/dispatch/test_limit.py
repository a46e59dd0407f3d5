"""No more at once than there are slots, first come, first served."""

import asyncio

import pytest

from ants_engine.dispatch.limit import FixedGate, LimitResponder
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import BackendError, RateLimitError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request


async def test_slots_bound_what_is_in_flight_and_are_given_in_order() -> None:
    running = peak = 0

    async def act(request: Request) -> Answer:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001)
        running -= 1
        if request.prompt == "3":
            raise RateLimitError("x")
        return Answer(request.prompt)

    inner = FakeResponder(act)
    responder = LimitResponder(inner, FixedGate(3))
    requests = [make_request(str(number)) for number in range(20)]
    results = await asyncio.gather(*(responder.answer(each, Trace()) for each in requests), return_exceptions=True)
    assert peak == 3
    assert inner.asked == requests
    assert isinstance(results[3], RateLimitError)


async def test_one_who_is_cancelled_gives_its_slot_back() -> None:
    async def act(request: Request) -> Answer:
        if request.prompt == "hang":
            await asyncio.Event().wait()
        return Answer("x")

    responder = LimitResponder(FakeResponder(act), FixedGate(1))
    first = asyncio.create_task(responder.answer(make_request("hang"), Trace()))
    queued = asyncio.create_task(responder.answer(make_request("queued"), Trace()))
    last = asyncio.create_task(responder.answer(make_request("last"), Trace()))
    await asyncio.sleep(0)
    queued.cancel()
    await asyncio.sleep(0)
    first.cancel()
    assert (await last).text == "x"


async def test_a_gate_learns_how_requests_ended() -> None:
    class Watching(FixedGate):
        def leave(self, error: BackendError | None) -> None:
            endings.append(error)
            super().leave(error)

    async def act(request: Request) -> Answer:
        if request.prompt == "bad":
            raise failure
        return Answer("x")

    endings: list[BackendError | None] = []
    failure = RateLimitError("x")
    responder = LimitResponder(FakeResponder(act), Watching(1))
    await responder.answer(make_request("good"), Trace())
    with pytest.raises(RateLimitError):
        await responder.answer(make_request("bad"), Trace())
    assert endings == [None, failure]
