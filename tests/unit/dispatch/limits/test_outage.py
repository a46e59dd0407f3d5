"""A server that is down is told from a question that fails: on a clock that the test moves."""

import random

import pytest

from ants_engine.dispatch.limits.constants import OUTAGE_FIRST_CONTACT, OUTAGE_LONGEST_PROBE
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.request import RequestProgress
from ants_engine.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadRequestError,
    OverloadedError,
    RateLimitError,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused() -> BackendUnavailableError:
    error = BackendUnavailableError("nobody listens")
    error.down, error.sent = True, False
    return error


def gateway() -> BackendUnavailableError:
    error = BackendUnavailableError("HTTP 502")
    error.down = True
    return error


def outage(clock: Clock, *, alive: bool = True, patience: float = 600.0) -> Outage:
    made = Outage(patience, clock=clock, jitter=random.Random(1))
    if alive:
        made.learn(RequestProgress(), clock.now, None)
        clock.now += 1
    return made


def fail(made: Outage, clock: Clock, error: BackendError, progress: RequestProgress | None = None) -> RequestProgress:
    """Let a call take a second and fail."""
    progress = progress or RequestProgress()
    started = clock.now
    clock.now += 1
    made.learn(progress, started, error)
    return progress


def test_one_refused_connection_is_an_outage_and_uses_up_no_try() -> None:
    clock = Clock()
    made = outage(clock)
    progress = fail(made, clock, refused())
    assert made.open
    assert made.waits_for(progress)
    assert made.excused(progress) == 1
    assert progress.failed_at == float("inf"), "what was never sent puts no question under suspicion"


@pytest.mark.parametrize("error", [gateway(), OverloadedError("HTTP 503")])
def test_a_gateways_word_is_believed_when_every_call_ends_so(error: BackendUnavailableError) -> None:
    clock = Clock()
    made = outage(clock)
    progresses = [fail(made, clock, error) for _ in range(2)]
    assert not made.open
    assert [made.excused(progress) for progress in progresses] == [0, 0]
    progresses.append(fail(made, clock, error))
    assert made.open
    assert [made.excused(progress) for progress in progresses] == [1, 1, 1], "the first ones too"


def test_calls_that_fail_in_one_moment_are_not_enough() -> None:
    clock = Clock()
    made = outage(clock)
    started = clock.now
    clock.now += 1
    for _ in range(16):
        made.learn(RequestProgress(), started, gateway())
    assert not made.open
    fail(made, clock, gateway())
    assert made.open


@pytest.mark.parametrize("life", [None, RateLimitError("429"), BadRequestError("400"), BackendUnavailableError("500")])
def test_any_word_of_the_server_itself_ends_the_series(life: BackendError | None) -> None:
    clock = Clock()
    made = outage(clock)
    for _ in range(2):
        fail(made, clock, gateway())
    made.learn(RequestProgress(), clock.now, life)
    for _ in range(2):
        fail(made, clock, gateway())
    assert not made.open
    fail(made, clock, gateway())
    assert made.open
    made.learn(RequestProgress(), clock.now, life)
    assert not made.open


def test_timeouts_and_what_was_never_sent_say_nothing() -> None:
    clock = Clock()
    made = outage(clock)
    unsent = BadRequestError("cannot be made")
    unsent.sent = False
    for error in (gateway(), BackendTimeoutError("slow"), unsent, gateway(), BackendTimeoutError("slow")):
        fail(made, clock, error)
    assert not made.open
    fail(made, clock, gateway())
    assert made.open, "neither did they end the series"


def test_a_question_that_fails_while_others_are_answered_is_at_fault_itself() -> None:
    clock = Clock()
    made = outage(clock)
    bad = fail(made, clock, gateway())
    made.learn(RequestProgress(), clock.now, None)
    for _ in range(10):
        fail(made, clock, gateway(), bad)
    assert not made.open
    assert made.excused(bad) == 0
    fail(made, clock, refused())
    fail(made, clock, gateway(), bad)
    assert made.open
    assert made.excused(bad) == 0, "an outage excuses it no more"


def test_a_question_in_flight_when_the_server_goes_is_excused() -> None:
    clock = Clock()
    made = outage(clock)
    started = clock.now
    clock.now += 1
    made.learn(RequestProgress(), started, None)
    clock.now += 1
    in_flight = RequestProgress()
    made.learn(in_flight, started, gateway())
    fail(made, clock, refused())
    assert made.excused(in_flight) == 1


def test_an_answer_that_was_on_its_way_when_connections_were_refused_does_not_end_it() -> None:
    clock = Clock()
    made = outage(clock)
    started = clock.now
    clock.now += 1
    fail(made, clock, refused())
    made.learn(RequestProgress(), started, None)
    assert made.open
    made.learn(RequestProgress(), clock.now, None)
    assert not made.open


def test_one_probe_at_a_time_with_pauses_that_grow_to_a_bound() -> None:
    clock = Clock()
    made = outage(clock)
    fail(made, clock, refused())
    pauses = []
    for _ in range(12):
        pauses.append(made.opens(clock.now) - clock.now)
        clock.now += pauses[-1]
        assert made.probe()
        assert made.opens(clock.now) == float("inf"), "all others wait for it"
        made.learn(RequestProgress(), clock.now, refused())
        made.probed(asked=True)
    assert 0.2 < pauses[0] < 0.6
    assert max(pauses) <= OUTAGE_LONGEST_PROBE
    assert min(pauses[-5:]) >= OUTAGE_LONGEST_PROBE / 2
    clock.now = made.opens(clock.now)
    made.probe()
    made.probed(asked=False)
    assert made.opens(clock.now) == clock.now, "one that was not needed makes room for the next"


@pytest.mark.parametrize(("alive", "waits"), [(True, 600.0), (False, OUTAGE_FIRST_CONTACT)])
def test_it_ends_after_the_deadline_or_soon_where_nothing_was_ever_answered(alive: bool, waits: float) -> None:
    clock = Clock()
    made = outage(clock, alive=alive)
    fail(made, clock, refused())
    began = clock.now
    assert made.expires == began + waits
    assert not made.hopeless(began + waits - 1)
    made.probe()
    assert made.hopeless(began + waits)
    assert "nobody listens. The server has been down since " in str(made.error())
    assert ("is its address right" in str(made.error())) is (not alive)
    made.learn(RequestProgress(), clock.now, None)
    assert not made.hopeless(began + waits)
