"""Waiting, retrying and stuck are not the same, and can be told apart."""

from ants_engine.dispatch.limits.budget import Spent
from ants_engine.dispatch.throughput_monitor import Pulse, ThroughputMonitor


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def read(pulsometer: ThroughputMonitor, holding: tuple[str, float] | None = None) -> Pulse:
    return pulsometer.read(limit=4, slots=8, holding=holding, spent=Spent())


def test_a_run_that_moves() -> None:
    clock = Clock()
    pulsometer = ThroughputMonitor(clock)
    for number in range(20):
        pulsometer.asking(number)
        clock.now += 0.5
        pulsometer.came_back(number, answered=True)
    pulse = read(pulsometer)
    assert (pulse.first_answer, pulse.per_second, pulse.quiet, pulse.oldest) == (0.5, 2.0, 0.0, 0.0)
    assert not pulse.stuck
    assert pulse.in_words() == "2/s"


def test_a_run_that_is_stuck_and_moves_again() -> None:
    clock = Clock()
    pulsometer = ThroughputMonitor(clock)
    for number in range(3):
        pulsometer.asking(number)
    clock.now = 30.0
    pulsometer.came_back(0, answered=True)
    clock.now = 100.0
    assert not read(pulsometer).stuck, "an answer took 30 s before: 70 s of silence is nothing unusual"
    clock.now = 200.0
    pulse = read(pulsometer)
    assert pulse.stuck
    assert (pulse.quiet, pulse.oldest) == (170.0, 200.0)
    assert "nothing has come for 170 s" in pulse.in_words()
    pulsometer.came_back(1, answered=False)
    assert not read(pulsometer).stuck


def test_nothing_under_way_is_never_stuck() -> None:
    clock = Clock()
    pulsometer = ThroughputMonitor(clock)
    clock.now = 1e6
    assert not read(pulsometer).stuck
    assert read(pulsometer, ("the server's rate limit", 12.0)).in_words() == "held by the server's rate limit for 12 s"
