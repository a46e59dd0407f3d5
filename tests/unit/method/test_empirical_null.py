import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.empirical_null import NullRule, empirical_null

VALUES = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=60)


def normal(count, mean=0.0, deviation=1.0):
    """Evenly spaced quantiles: a sample without scatter."""
    quantiles = NormalDist(mean, deviation)
    return torch.tensor([quantiles.inv_cdf((row + 0.5) / count) for row in range(count)], dtype=torch.float64)


def test_one_heap_is_mirrored():
    found = empirical_null(normal(1000, 7.0, 2.0))
    assert found.rule is NullRule.MIRROR
    assert found.threshold == pytest.approx(7.0 - 1.645 * 2.0, abs=0.02)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("unknown", [200, 500, 1500])
def test_two_heaps_apart(alpha, unknown):
    scores = torch.cat((normal(unknown, -6.0, 1.5), normal(1000, 4.0, 1.0)))
    found = empirical_null(scores, alpha)
    assert found.rule is NullRule.MIXTURE
    assert found.threshold == pytest.approx(NormalDist(4.0, 1.0).inv_cdf(alpha), abs=0.05)
    assert found.ashman > 2.5
    assert found.lower_weight == pytest.approx(unknown / (unknown + 1000), abs=0.01)


def test_a_small_lower_heap_is_no_second_one():
    scores = torch.cat((normal(30, -9.0, 0.5), normal(1000, 4.0, 1.0)))
    assert empirical_null(scores).rule is NullRule.MIRROR


def test_a_tail_to_the_left_is_no_second_heap():
    # the mixture alone takes a shelf below the heap for a second one
    shelf = torch.linspace(-15.0, 3.0, 400, dtype=torch.float64)
    found = empirical_null(torch.cat((shelf, normal(1000, 4.0, 1.0))))
    assert found.ashman > 2.5
    assert found.lower_weight > 0.05
    assert found.rule is NullRule.MIRROR


def test_the_upper_tail_alone_decides_the_mirror():
    known = normal(1000)
    shifted = torch.where(known < -1.0, known * 2.0 + 1.0, known)
    assert empirical_null(known).rule is empirical_null(shifted).rule is NullRule.MIRROR
    assert empirical_null(known).threshold == empirical_null(shifted).threshold


@given(VALUES, st.randoms(use_true_random=False))
def test_any_scores_in_any_order(values, random):
    found = empirical_null(torch.tensor(values))
    assert math.isfinite(found.threshold)
    random.shuffle(values)
    assert empirical_null(torch.tensor(values)) == found


@given(VALUES, st.sampled_from([0.25, 2.0, 8.0]), st.sampled_from([-16.0, 0.0, 4.0]))
def test_it_moves_with_the_scale(values, scale, shift):
    scores = torch.tensor(values, dtype=torch.float64)
    before, after = empirical_null(scores), empirical_null(scores * scale + shift)
    if before.rule is after.rule is NullRule.MIRROR:
        assert after.threshold == pytest.approx(before.threshold * scale + shift, abs=1e-6)


def test_one_value_makes_nothing_unknown():
    found = empirical_null(torch.full((50,), 0.75))
    assert (found.threshold, found.rule) == (0.75, NullRule.MIRROR)


def test_tied_heaps():
    found = empirical_null(torch.cat((torch.zeros(500), torch.ones(500))))
    assert found.rule is NullRule.MIXTURE
    assert 0.9 < found.threshold <= 1.0


def test_a_long_history_is_thinned_to_the_same_threshold():
    random = np.random.default_rng(0)
    scores = torch.from_numpy(np.r_[random.normal(-6, 1, 40_000), random.normal(4, 1, 60_000)])
    assert empirical_null(scores).threshold == pytest.approx(4 - 1.645, abs=0.05)


@pytest.mark.parametrize("scores", [torch.empty(0), torch.zeros(2, 2), torch.tensor([0.1, math.inf])])
def test_misuse(scores):
    with pytest.raises(ValueError, match=r"vector|finite"):
        empirical_null(scores)


@pytest.mark.parametrize("share", [0.0, 0.5, math.nan])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match="false_alarms must be in"):
        empirical_null(torch.rand(5), share)
