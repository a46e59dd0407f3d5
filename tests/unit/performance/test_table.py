"""What the table of ``python -m benchmarks`` makes of a row."""

import pytest
import torch

from benchmarks.literal_scoring import grouped
from benchmarks.random_world import RandomWorld
from benchmarks.table import Row, table
from benchmarks.timing import medians


def test_time_is_better_when_it_is_less_and_throughput_when_it_is_more() -> None:
    time = Row("x", "ms", 2.0, baseline=10.0, limit=1.6, at_least=5.0, at_most=1.25)
    assert (time.gain, time.excess, time.met) == (5.0, 1.25, True)
    pace = Row("x", "pictures/s", 8.0, baseline=4.0, limit=10.0, more_is_better=True, at_least=2.0, at_most=1.25)
    assert (pace.gain, pace.excess, pace.met) == (2.0, 1.25, True)


@pytest.mark.parametrize(
    ("ours", "met"),
    [(2.0, True), (2.1, False), (1.0, True)],
)
def test_one_bar_that_is_missed_is_enough(ours: float, met: bool) -> None:
    assert Row("x", "ms", ours, baseline=10.0, limit=2.0, at_least=5.0, at_most=2.0).met is met


def test_memory_is_bounded_by_a_difference() -> None:
    row = Row("x", "MB", 130.0, limit=100.0, at_most=50.0, limit_is_difference=True)
    assert (row.excess, row.met, row.bar) == (30.0, True, "≤ limit + 50")
    assert "| +30 |" in table([row])


def test_without_a_bar_nothing_is_met() -> None:
    row = Row("x", "s", 1.0)
    assert (row.gain, row.excess, row.met, row.bar) == (None, None, None, "")
    assert table([row]).splitlines()[-1] == "| x | s | 1 |  |  |  |  |  |  |"


def test_a_median_needs_five_rounds() -> None:
    calls: list[str] = []
    found = medians({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5, warm=1)
    assert set(found) == {"a", "b"}
    assert calls == ["a", "b"] * 6
    with pytest.raises(ValueError, match="at least 5"):
        medians({}, 4)


def test_the_world_is_the_same_whoever_makes_it_and_parts_known_from_unknown() -> None:
    world, again = RandomWorld.of(20, 1000, 512), RandomWorld.of(20, 1000, 512)
    pictures = world.pictures(300)
    assert (pictures == again.pictures(500)[:300]).all()
    both = pictures @ torch.cat([world.classes, world.negatives]).T / 0.01
    scores = grouped(both, 20, 10)
    assert ((scores > 0.9) | (scores < 0.1)).double().mean() > 0.8
