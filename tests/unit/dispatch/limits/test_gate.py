"""How much at once, how fast, and when not at all: on a clock that the test moves."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.dispatch.limits.budget import Quota
from ants_engine.dispatch.limits.congestion import Pace, Window
from ants_engine.dispatch.limits.gate import Gate, Permit
from ants_engine.errors import BackendTimeoutError, BackendUnavailableError, OverloadedError, RateLimitError


def test_a_window_doubles_in_a_round_trip_and_only_while_it_is_full() -> None:
    window = Window(64)
    assert window.limit == 16
    for expected in (32, 64, 64):
        for _ in range(window.limit):
            window.succeeded(full=True)
        assert window.limit == expected
    idle = Window(64)
    for _ in range(100):
        idle.succeeded(full=False)
    assert idle.limit == 16


def test_complaints_of_one_round_trip_shrink_it_once_then_it_grows_by_one_place_a_round_trip() -> None:
    window = Window(100, 50)
    assert window.overloaded(started=0.0, now=1.0)
    for _ in range(20):
        assert not window.overloaded(started=0.5, now=1.1)
    assert window.limit == 35
    for _ in range(36):
        window.succeeded(full=True)
    assert window.limit == 36
    for number in range(200):
        window.overloaded(started=2.0 + number, now=2.5 + number)
    assert window.limit == 1


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=120))
def test_a_quota_is_never_exceeded_in_any_sixty_seconds(limit: int, steps: list[tuple[float, int]]) -> None:
    quota, now, taken = Quota(limit, 1.0), 0.0, []
    for wait, amount in steps:
        now = max(now + wait, quota.opens(now + wait, amount))
        assert quota.opens(now, amount) <= now + 1e-6
        quota.take(now, amount)
        taken.append((now, amount))
    for start, _ in taken:
        inside = [amount for when, amount in taken if start <= when < start + 60.0 - 1e-6]
        # what is more than the whole quota in itself has the span to itself
        assert sum(inside) <= limit or len(inside) == 1


def test_a_quota_is_spread_and_learns_what_was_used_in_truth() -> None:
    quota, now, starts = Quota(600, 1.0), 0.0, []
    for _ in range(100):
        now = quota.opens(now, 1)
        quota.take(now, 1)
        starts.append(now)
    assert starts[-1] == pytest.approx(9.0, abs=0.2)
    tokens = Quota(1000, 10.0)
    tokens.take(0.0, 1000)
    assert tokens.opens(0.0, 500) > 20
    tokens.correct(0.0, 1000, 100)
    assert tokens.opens(0.0, 500) < 30


Server = Callable[[float], bool]


def bucket(rate: float, burst: float) -> Server:
    level, last = burst, 0.0

    def allowed(now: float) -> bool:
        nonlocal level, last
        level, last = min(burst, level + (now - last) * rate), now
        if level < 1:
            return False
        level -= 1
        return True

    return allowed


def by_the_second(rate: int) -> Server:
    counts: dict[int, int] = {}

    def allowed(now: float) -> bool:
        counts[int(now)] = counts.get(int(now), 0) + 1
        if counts[int(now)] > rate:
            counts[int(now)] = rate
            return False
        return True

    return allowed


def simulate(server: Server, latency: float, *, seconds: float = 60.0, wish: float = 0.0) -> tuple[float, float]:
    """Ask without end; give the answers a second, and the share of refusals after the first ten seconds."""
    rng, window, pace, ticket = random.Random(3), Window(64), Pace(), itertools.count()
    events: list[tuple[float, int, str, float]] = []
    in_flight = answered = 0
    late = [0, 0]
    now, waking = 0.0, False
    while now < seconds:
        while in_flight < window.limit:
            opens = pace.opens(now)
            if opens > now + 1e-9:
                # one is enough: were every event to add another, they would be most of what happens
                if not waking:
                    heapq.heappush(events, (opens, next(ticket), "wake", now))
                waking = True
                break
            allowed = server(now)
            in_flight += 1
            pace.start(now)
            end = now + (latency * rng.uniform(0.7, 1.3) if allowed else 0.01)
            heapq.heappush(events, (end, next(ticket), "right" if allowed else "refused", now))
        now, _, kind, started = heapq.heappop(events)
        if kind == "wake":
            waking = False
            continue
        full = in_flight >= window.limit
        in_flight -= 1
        late[kind == "refused"] += now > 10
        if kind == "right":
            answered += 1
            pace.succeeded(now)
            window.succeeded(full=full)
        else:
            if pace.rate is None:
                window.overloaded(started, now, paced=True)
            pace.refused(started, now, wish)
    return answered / now, late[1] / max(1, sum(late))


@pytest.mark.parametrize("latency", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("wish", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["bucket of 20", "bucket of 2", "by the second"])
def test_the_pace_finds_what_a_server_allows(latency: float, wish: float, kind: str) -> None:
    servers = {"bucket of 20": bucket(20, 20), "bucket of 2": bucket(20, 2), "by the second": by_the_second(20)}
    rate, refused = simulate(servers[kind], latency, wish=wish)
    assert rate >= 0.8 * 20
    assert refused <= 0.05


def test_the_pace_notices_that_a_limit_was_lifted() -> None:
    slow, fast = bucket(5, 5), bucket(100, 10)
    rate, _ = simulate(lambda now: slow(now) if now < 20 else fast(now), 0.05, seconds=80)
    assert rate > 35


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_server_that_refuses_at_random_is_not_slowed_down_for_to_a_standstill(share: float) -> None:
    rng = random.Random(5)
    rate, refused = simulate(lambda _: rng.random() > share, 0.05)
    assert rate > 100
    assert refused < 1.5 * share


def test_a_limit_that_falls_is_followed() -> None:
    fast, slow = bucket(100, 10), bucket(10, 5)
    late: list[bool] = []

    def server(now: float) -> bool:
        allowed = fast(now) if now < 20 else slow(now)
        if now > 35:
            late.append(allowed)
        return allowed

    simulate(server, 0.05, seconds=80)
    assert late.count(True) > 0.8 * 45 * 10
    assert late.count(False) < 0.08 * len(late)


def test_a_server_that_never_refuses_is_not_slowed_down() -> None:
    pace = Pace()
    assert pace.opens(5.0) == 5.0
    pace.start(5.0)
    pace.succeeded(5.1)
    assert pace.rate is None


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def entered(gate: Gate, count: int) -> list[Permit]:
    return [await asyncio.wait_for(gate.enter(), 1) for _ in range(count)]


async def test_a_long_wish_of_the_server_closes_the_gate_for_all_and_a_short_one_does_not() -> None:
    clock, told = Clock(), []
    gate = Gate(4, clock=clock, tell=lambda kind, **facts: told.append((kind, facts)))
    first, second = await entered(gate, 2)
    gate.release(first, OverloadedError("busy", retry_after=1.0))
    third = (await entered(gate, 1))[0]
    gate.release(second, BackendUnavailableError("down", retry_after=30.0))
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert gate.holding() == ("the server asks to be left alone", pytest.approx(30.0))
    assert told[-1][0] == "paused"
    clock.now += 31
    gate.release(third)
    await asyncio.wait_for(waiting, 1)
    assert gate.holding() is None
    gate.close()


@pytest.mark.parametrize(
    ("error", "shrinks"),
    [
        (RateLimitError("x"), True),
        (OverloadedError("x"), True),
        (BackendTimeoutError("x"), True),
        (BackendUnavailableError("a proxy hiccup"), False),
        (None, False),
    ],
)
async def test_what_says_that_there_was_too_much(error: RateLimitError | None, shrinks: bool) -> None:
    gate = Gate(8, clock=Clock())
    (one,) = await entered(gate, 1)
    gate.release(one, error)
    assert (gate.limit < 8) is shrinks
    gate.close()


async def test_what_was_not_needed_counts_against_no_limit() -> None:
    clock = Clock()
    gate = Gate(4, requests_per_minute=60, clock=clock)
    for _ in range(50):
        (one,) = await entered(gate, 1)
        one.asked = False
        gate.release(one)
    (one,) = await entered(gate, 1)
    gate.release(one)
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert gate.holding() == ("your limit of requests a minute", pytest.approx(1.0))
    waiting.cancel()
    gate.close()


def test_what_is_still_under_way_when_others_are_refused_is_what_a_server_takes() -> None:
    window = Window(64)
    # sixteen at once, four are taken
    for others in range(15, 3, -1):
        assert window.explains(0.0, 0.1, others)
        window.refused(0.0, 0.1, others)
    assert window.limit == 4
    # more is tried after a while, and ever later where it is refused again
    tried, now = [], 0.1
    while now < 60.0:
        now += 0.25
        window.succeeded(full=True, started=now - 0.2, now=now, level=4)
        if window.limit > 4:
            assert window.explains(now, now, 4)
            window.refused(now, now, 4)
            assert window.limit == 4
            tried.append(now)
    pauses = [after - before for before, after in itertools.pairwise(tried)]
    assert len(tried) >= 4
    assert pauses == sorted(pauses)
    assert pauses[-1] > 3 * pauses[0]


def test_a_refusal_with_as_many_under_way_as_were_answered_is_about_the_pace() -> None:
    window = Window(64)
    window.refused(0.0, 0.1, 8)
    for number in range(3):
        assert window.explains(1.0 + number, 1.0 + number, 3)
        window.succeeded(full=False, started=1.0, now=2.0, level=6)
    assert not window.explains(4.0, 4.0, 3)
    assert not window.explains(5.0, 5.0, 60), "for a while"
    assert window.explains(70.0, 70.0, 60)
    assert not Window(64).explains(0.0, 0.0, 0), "nor is one that was alone"
