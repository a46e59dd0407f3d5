"""Tries again what may pass, as often and as long as allowed, and never swallows a cancellation."""

import asyncio
import math
import random
import time
from typing import Any

import pytest

from ants_engine import errors
from ants_engine.dispatch.ask import AttemptResponder
from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.dispatch.retry import RetryResponder
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import FakeResponder, make_request, no_sleep


class Clock:
    """Time that passes only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def failing(*failures: BaseException) -> FakeResponder:
    left = list(failures)

    async def act(_: Request) -> Answer:
        if left:
            raise left.pop(0)
        return Answer("at last")

    return FakeResponder(act)


def retry(inner: FakeResponder, clock: Clock | None = None, **changes: Any) -> RetryResponder:
    """Retry around tries, as the engine puts them together, without the limit between."""
    clock = clock or Clock()
    limits = {"timeout": changes.pop("timeout", 100.0), "deadline": changes.pop("deadline", 1000.0)}
    ticking = changes.pop("ticking", clock)
    tries = AttemptResponder(inner, **limits, observer=changes.pop("observer", Observers()), clock=ticking)
    parts: dict[str, Any] = {"attempts": 5, "jitter": random.Random(7), "sleep": clock.sleep, "clock": ticking}
    return RetryResponder(tries, **(parts | changes))


async def test_it_tries_until_there_is_an_answer() -> None:
    inner = failing(errors.BackendTimeoutError("1"), errors.RateLimitError("2"), errors.BackendUnavailableError("3"))
    progress = RequestProgress()
    assert (await retry(inner).answer(make_request(), progress)).text == "at last"
    assert progress.attempts == len(inner.asked) == 4


@pytest.mark.parametrize(
    "error",
    [
        errors.FinalBackendError("x"),
        errors.AuthenticationError("x"),
        errors.QuotaError("x"),
        errors.EmptyAnswerError("x"),
        errors.TruncatedAnswerError("x"),
        errors.ImageUnreadableError("a", "x"),
        RuntimeError("x"),
        TimeoutError("the inner one's own"),
    ],
)
async def test_what_cannot_pass_is_not_tried_again(error: Exception) -> None:
    inner = failing(error)
    with pytest.raises(type(error)) as caught:
        await retry(inner).answer(make_request(), RequestProgress())
    assert caught.value is error
    assert len(inner.asked) == 1


async def test_attempts_are_bounded_and_the_last_error_is_the_one_that_counts() -> None:
    failures = [errors.BackendUnavailableError(str(number)) for number in range(9)]
    inner = failing(*failures)
    with pytest.raises(errors.BackendUnavailableError, match="2"):
        await retry(inner, attempts=3).answer(make_request(), RequestProgress())
    assert len(inner.asked) == 3


async def test_the_deadline_ends_it_before_a_pause_that_would_pass_it() -> None:
    clock = Clock()
    inner = failing(*[errors.BackendUnavailableError("x") for _ in range(99)])
    with pytest.raises(errors.BackendUnavailableError):
        await retry(inner, clock, attempts=99, deadline=20.0).answer(make_request(), RequestProgress())
    assert clock.now < 20
    assert 4 < len(inner.asked) < 10


async def test_pauses_grow_within_bounds_and_are_jittered() -> None:
    clock = Clock()
    inner = failing(*[errors.BackendUnavailableError("x") for _ in range(9)])
    await retry(inner, clock, attempts=10).answer(make_request(), RequestProgress())
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert all(most / 2 <= pause <= most for pause, most in zip(clock.pauses, longest, strict=True))
    other = Clock()
    inner = failing(*[errors.BackendUnavailableError("x") for _ in range(9)])
    await retry(inner, other, attempts=10, jitter=random.Random(8)).answer(make_request(), RequestProgress())
    assert other.pauses != clock.pauses


async def test_the_servers_wish_is_honoured() -> None:
    clock = Clock()
    await retry(failing(errors.RateLimitError("x", retry_after=7.0)), clock).answer(make_request(), RequestProgress())
    assert 7.0 <= clock.pauses[0] <= 7.5


async def test_so_is_one_that_comes_with_another_failure() -> None:
    clock = Clock()
    await retry(failing(errors.OverloadedError("x", retry_after=7.0)), clock).answer(make_request(), RequestProgress())
    assert 7.0 <= clock.pauses[0] <= 7.5


async def test_what_nobody_waits_for_any_more_is_not_tried_again() -> None:
    async def act(_: Request) -> Answer:
        progress.abandoned = True
        raise errors.BackendUnavailableError("x")

    progress, inner = RequestProgress(), FakeResponder(act)
    with pytest.raises(errors.BackendUnavailableError):
        await retry(inner).answer(make_request(), progress)
    assert len(inner.asked) == 1


async def test_every_try_is_told_to_observers() -> None:
    class Watching(Observers):
        def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
            told.append((attempt, type(ending).__name__))

    told: list[tuple[int, str]] = []
    await retry(failing(errors.RateLimitError("x")), observer=Watching()).answer(make_request(), RequestProgress())
    assert told == [(1, "RateLimitError"), (2, "Answer")]


@pytest.mark.parametrize("wish", [1e9, math.inf])
async def test_a_wish_beyond_the_deadline_ends_it_at_once(wish: float) -> None:
    clock = Clock()
    with pytest.raises(errors.RateLimitError):
        await retry(failing(errors.RateLimitError("x", retry_after=wish)), clock).answer(
            make_request(), RequestProgress()
        )
    assert clock.pauses == []


@pytest.mark.parametrize("wish", [math.nan, -5.0, 0.0, None])
async def test_a_wish_that_makes_no_sense_is_no_wish(wish: float | None) -> None:
    clock = Clock()
    await retry(failing(errors.RateLimitError("x", retry_after=wish)), clock).answer(make_request(), RequestProgress())
    assert 0.25 <= clock.pauses[0] <= 0.5


async def hang(_: Request) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_each_try_has_its_own_timeout() -> None:
    inner = FakeResponder(hang)
    responder = retry(inner, attempts=2, timeout=0.01, deadline=60, sleep=no_sleep, ticking=time.monotonic)
    with pytest.raises(errors.BackendTimeoutError, match=r"no answer within 0.01 s"):
        await responder.answer(make_request(), RequestProgress())
    assert len(inner.asked) == 2


async def test_the_deadline_also_cuts_a_try_short() -> None:
    inner = FakeResponder(hang)
    responder = retry(inner, attempts=9, timeout=60, deadline=0.02, sleep=no_sleep, ticking=time.monotonic)
    with pytest.raises(errors.BackendTimeoutError, match="no answer within the request's deadline"):
        await responder.answer(make_request(), RequestProgress())
    assert len(inner.asked) == 1


async def test_a_cancellation_is_never_swallowed_while_trying() -> None:
    inner = FakeResponder(hang)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(retry(inner, sleep=no_sleep).answer(make_request(), RequestProgress()), 0.01)
    assert len(inner.asked) == 1


async def test_a_cancellation_is_never_swallowed_while_pausing() -> None:
    async def pause(_: float) -> None:
        await asyncio.Event().wait()

    inner = failing(errors.RateLimitError("x"))
    progress = RequestProgress()
    task = asyncio.create_task(retry(inner, sleep=pause).answer(make_request(), progress))
    while str(progress.phase) != "pausing":
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert progress.phase == "waiting"
    assert len(inner.asked) == 1


async def test_a_cancellation_raised_inside_is_never_swallowed() -> None:
    inner = failing(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await retry(inner).answer(make_request(), RequestProgress())
    assert len(inner.asked) == 1


async def test_many_requests_do_not_disturb_each_other() -> None:
    async def act(request: Request) -> Answer:
        await asyncio.sleep(0)
        seen[request.prompt] = seen.get(request.prompt, 0) + 1
        if seen[request.prompt] <= int(request.prompt):
            raise errors.RateLimitError("x")
        return Answer(request.prompt)

    seen: dict[str, int] = {}
    responder = retry(FakeResponder(act), attempts=5)
    progresses = [RequestProgress() for _ in range(5)]
    answers = await asyncio.gather(
        *(responder.answer(make_request(str(number)), progress) for number, progress in enumerate(progresses))
    )
    assert [answer.text for answer in answers] == ["0", "1", "2", "3", "4"]
    assert [progress.attempts for progress in progresses] == [1, 2, 3, 4, 5]
