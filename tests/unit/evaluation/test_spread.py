import pytest

from ants_engine.evaluation.summary import Spread


def test_mean_and_sample_deviation() -> None:
    # deviations -1, 0, 1: variance 2 / (3 - 1)
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(2.0, 1.0)
    assert str(Spread.of([1.0, 2.0, 3.0])) == "2.00 ± 1.00"


def test_a_single_value_has_no_deviation() -> None:
    assert Spread.of([12.345]) == Spread(12.345, None)
    assert str(Spread.of([12.344])) == "12.34"


def test_nothing_to_describe() -> None:
    with pytest.raises(ValueError, match="no value"):
        Spread.of([])
