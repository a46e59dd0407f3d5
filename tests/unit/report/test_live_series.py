import numpy as np

from ants_engine.report.live_state import Histogram, Series


def test_a_series_stays_small_even_and_current() -> None:
    series: Series[int] = Series(10)
    for point in range(1003):
        series.add(point)
        assert series.points()[-1] == point
        assert len(series.points()) <= 11
    points = series.points()
    assert points[0] == 0
    assert len(points) > 5
    steps = np.diff(points[:-1])
    assert len(set(steps.tolist())) == 1, "evenly spread"


def test_scores_at_the_edges_are_counted_and_what_is_no_number_is_not() -> None:
    found = Histogram(4)
    found.add(np.array([0.0, 0.24, 0.5, 1.0, np.nan, 1.5, -0.1]), line=0.5)
    assert found.counts() == [3, 0, 1, 2]
    assert (found.total, found.below) == (6, 3)
