import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.conformal import (
    benjamini_hochberg,
    conformal_p_values,
    conformal_threshold,
    pictures_needed,
)

TIED = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=40)
ALPHA = st.sampled_from([0.01, 0.05, 0.07, 0.1, 0.25, 0.29, 0.5, 0.9])


@given(st.integers(1, 60), ALPHA)
def test_a_fresh_picture_is_flagged_with_the_expected_probability(count, alpha):
    # every one of n + 1 exchangeable pictures is the fresh one once: the probability, exactly
    if count < pictures_needed(alpha):
        return
    scores = torch.arange(count + 1).double()
    flagged = 0
    for fresh in range(count + 1):
        found = conformal_threshold(torch.cat((scores[:fresh], scores[fresh + 1 :])), alpha)
        flagged += bool(scores[fresh] < found.threshold)
    assert flagged == found.rank
    assert flagged / (count + 1) == found.expected_false_alarms <= alpha * (1 + 1e-9)
    assert (found.rank + 1) / (count + 1) > alpha * (1 - 1e-9)


@given(TIED, ALPHA)
def test_ties_never_cost_coverage(values, alpha):
    count = len(values) - 1
    if count < pictures_needed(alpha):
        return
    scores = torch.tensor(values)
    rest = [torch.cat((scores[:fresh], scores[fresh + 1 :])) for fresh in range(len(values))]
    flagged = sum(
        bool(scores[fresh] < conformal_threshold(others, alpha).threshold) for fresh, others in enumerate(rest)
    )
    assert flagged <= alpha * (count + 1) * (1 + 1e-9)


@pytest.mark.parametrize(("count", "rank"), [(20, 1), (50, 2), (100, 5), (500, 25)])
def test_mean_and_spread_of_the_kept_share(count, rank):
    random = torch.Generator().manual_seed(count)
    # of uniform scores the share of fresh pictures below the threshold is the threshold itself
    shares = [conformal_threshold(torch.rand(count, generator=random).double()).threshold for _ in range(4000)]
    promise = conformal_threshold(torch.rand(count, generator=random))
    assert promise.rank == rank
    error = promise.false_alarms_sd / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(promise.expected_false_alarms, abs=4 * error)
    assert np.std(shares) == pytest.approx(promise.false_alarms_sd, rel=0.1)


@given(ALPHA)
def test_the_number_needed_is_the_least(alpha):
    needed = pictures_needed(alpha)
    assert conformal_threshold(torch.rand(needed), alpha).rank >= 1
    if needed > 1:
        with pytest.raises(ValueError, match=f"at least {needed} pictures"):
            conformal_threshold(torch.rand(needed - 1), alpha)


def test_too_few_pictures():
    assert pictures_needed(0.05) == 19
    with pytest.raises(ValueError, match=r"5 pictures are too few .* 0\.05: it takes at least 19 .* at least 0\.167"):
        conformal_threshold(torch.rand(5))


@given(TIED, TIED, ALPHA)
def test_p_values_and_threshold_say_the_same(values, known, alpha):
    scores, calibration = torch.tensor(values), torch.tensor(known)
    p_values = conformal_p_values(scores, calibration)
    by_hand = [(1 + sum(one <= value for one in known)) / (len(known) + 1) for value in values]
    assert p_values.tolist() == pytest.approx(by_hand)
    if len(known) >= pictures_needed(alpha):
        below = scores < conformal_threshold(calibration, alpha).threshold
        assert (p_values <= alpha * (1 + 1e-9)).tolist() == below.tolist()


def test_p_values_that_do_not_exist():
    assert np.isnan(conformal_p_values(torch.tensor([0.5, 0.7]), torch.empty(0))).all()
    p_values = conformal_p_values(torch.tensor([math.nan, 0.0, 2.0]), torch.tensor([1.0]))
    assert math.isnan(p_values[0])
    assert p_values[1:].tolist() == [0.5, 1.0]


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.04, 0.05, 0.2, 0.5, 1.0]), max_size=12), ALPHA)
def test_benjamini_hochberg_by_its_definition(values, fdr):
    flagged = benjamini_hochberg(np.array(values, dtype=np.float64), fdr)
    # the largest set {p ≤ t} that has t ≤ fdr · its size / m
    sets = [[value <= level for value in values] for level in values]
    allowed = [
        one for level, one in zip(values, sets, strict=True) if level <= fdr * sum(one) / len(values) * (1 + 1e-9)
    ]
    assert flagged.tolist() == max(allowed, key=sum, default=[False] * len(values))


def test_the_false_discovery_rate_holds():
    random = torch.Generator().manual_seed(3)
    shares, found = [], []
    for _ in range(600):
        calibration, known = torch.randn(400, generator=random), torch.randn(90, generator=random)
        unknown = torch.randn(30, generator=random) - 4.0
        flagged = benjamini_hochberg(conformal_p_values(torch.cat((known, unknown)), calibration), 0.1)
        shares.append(flagged[:90].sum() / max(1, flagged.sum()))
        found.append(flagged[90:].mean())
    # the bound is fdr times the share of known pictures
    assert np.mean(shares) <= 0.075 + 4 * np.std(shares) / math.sqrt(600)
    assert np.mean(found) > 0.9


def test_pictures_without_a_p_value_are_not_counted():
    p_values = np.array([0.04, math.nan, math.nan, 0.9])
    assert benjamini_hochberg(p_values, 0.1).tolist() == [True, False, False, False]
    assert not benjamini_hochberg(np.full(3, math.nan)).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_shares_out_of_range(share):
    with pytest.raises(ValueError, match="false_alarms must be in"):
        conformal_threshold(torch.rand(100), share)
    with pytest.raises(ValueError, match="fdr must be in"):
        benjamini_hochberg(np.array([0.5]), share)


@pytest.mark.parametrize("scores", [torch.empty(0), torch.zeros(2, 2), torch.tensor([0.1, math.nan])])
def test_misuse(scores):
    with pytest.raises(ValueError, match=r"vector|finite"):
        conformal_threshold(scores)


def test_misuse_of_p_values():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        benjamini_hochberg(np.array([0.5, 1.5]))
    for scores, calibration in itertools.permutations((torch.rand(3), torch.rand(2, 2))):
        with pytest.raises(ValueError, match="vector"):
            conformal_p_values(scores, calibration)
