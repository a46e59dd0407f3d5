import time

from ants_engine.learning.report import CallMeter, most_at_once


def test_spans_that_touch_do_not_overlap() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 1), (1, 2), (2, 3)]) == 1
    assert most_at_once([(0, 5), (1, 2), (1.5, 3), (2.5, 4)]) == 3
    assert most_at_once([(0, 1)] * 7) == 7


def test_each_reading_is_of_what_came_back_since_the_last() -> None:
    meter = CallMeter()
    assert meter.read().count == 0
    assert meter.read().median is None
    for seconds in (0.5, 0.1, 0.9):
        meter.attempted(None, 1, seconds, ValueError())  # type: ignore[arg-type]
    calls = meter.read()
    assert (calls.count, calls.median, calls.concurrency) == (3, calls.median, 3)
    assert calls.median is not None
    assert abs(calls.median - 0.5) < 1e-3
    assert calls.most is not None
    assert abs(calls.most - 0.9) < 1e-3
    time.sleep(0.01)
    meter.attempted(None, 1, 0.001, ValueError())  # type: ignore[arg-type]
    assert meter.read().count == 1
