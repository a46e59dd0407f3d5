import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.mining import adaptive_threshold


def test_cut_at_the_steepest_step():
    # counts per bin: 1, 4, 0, 0, 0, 0, 0, 0, 0, 2: the steepest step is behind the second bin
    scores = torch.tensor([0.05, 0.11, 0.12, 0.13, 0.14, 0.95, 1.0])
    cut = adaptive_threshold(scores, eta=0.5)
    assert cut.upper_interval == 0.2
    assert cut.threshold == pytest.approx(0.12)


def test_a_score_on_the_edge_is_not_below_it():
    scores = torch.tensor([0.1, 0.1, 0.1])
    cut = adaptive_threshold(scores, eta=0.5)
    # nothing is below 0.1, so all scores count
    assert cut.upper_interval == 0.1
    assert cut.threshold == pytest.approx(0.1)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_is_a_quantile_of_what_lies_below(values, eta):
    scores = torch.tensor(values)
    cut = adaptive_threshold(scores, eta)
    below = scores[scores < cut.upper_interval]
    used = below if len(below) else scores
    assert cut.threshold == pytest.approx(float(torch.quantile(used, eta)), abs=1e-6)


def test_misuse():
    with pytest.raises(ValueError, match="vector"):
        adaptive_threshold(torch.empty(0), 0.5)
    with pytest.raises(ValueError, match="eta"):
        adaptive_threshold(torch.ones(2), 1.1)
