import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.threshold import otsu_threshold, tpr_threshold

SCORES = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.625, 0.875, 1.0]), min_size=1, max_size=12)


def within(values: torch.Tensor, threshold: float) -> float:
    sides = (values[values < threshold], values[values >= threshold])
    return sum(float(((side - side.mean()) ** 2).sum()) for side in sides if len(side))


def test_two_heaps():
    scores = torch.tensor([0.9, 0.1, 0.2, 1.0, 0.8, 0.0], dtype=torch.float64)
    assert otsu_threshold(scores) == pytest.approx(0.5)


@given(SCORES)
def test_no_other_split_is_better(values):
    scores = torch.tensor(values, dtype=torch.float64)
    threshold = otsu_threshold(scores)
    levels = sorted(set(values))
    if len(levels) == 1:
        assert threshold == levels[0]
        return
    splits = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    assert threshold in splits
    assert within(scores, threshold) == pytest.approx(min(within(scores, split) for split in splits), abs=1e-12)


@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert otsu_threshold(torch.tensor(values)) == otsu_threshold(torch.tensor(shuffled))


def test_degenerate():
    assert otsu_threshold(torch.tensor([0.25])) == 0.25
    assert otsu_threshold(torch.full((5,), 0.75)) == 0.75
    low, high = 0.5, math.nextafter(0.5, 1)
    assert otsu_threshold(torch.tensor([low, high], dtype=torch.float64)) == high


def test_scores_that_saturate():
    scores = torch.cat((torch.zeros(300), torch.ones(700), torch.tensor([0.4, 0.6])))
    assert 0.0 < otsu_threshold(scores) < 1.0


@given(SCORES, st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]))
def test_the_highest_threshold_that_keeps_the_share(values, tpr):
    scores = torch.tensor(values, dtype=torch.float64)
    threshold = tpr_threshold(scores, tpr)
    assert threshold in values
    assert (scores >= threshold).sum() >= tpr * len(values) - 1e-9
    # the next higher score would keep too few
    assert (scores > threshold).sum() < tpr * len(values)


def test_tpr_by_hand():
    scores = torch.arange(20).double() / 20
    assert tpr_threshold(scores) == 1 / 20
    assert tpr_threshold(scores, 1.0) == 0.0
    assert tpr_threshold(scores[:19]) == 0.0


@pytest.mark.parametrize("scores", [torch.empty(0), torch.zeros(2, 2), torch.tensor([0.1, torch.nan])])
def test_misuse(scores):
    with pytest.raises(ValueError, match=r"vector|finite"):
        otsu_threshold(scores)
    with pytest.raises(ValueError, match=r"vector|finite"):
        tpr_threshold(scores)


@pytest.mark.parametrize("tpr", [0.0, 1.1, math.nan])
def test_tpr_out_of_range(tpr):
    with pytest.raises(ValueError, match="tpr"):
        tpr_threshold(torch.ones(3), tpr)
