import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.scoring import adaptive_score, adaptive_weight

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=10)


def test_by_hand():
    # a = 0.2, b = 0.6: lambda = 0.8 / (0.8 + 0.4)
    assert adaptive_weight(torch.tensor([0.1, 0.3]), torch.tensor([0.6, 0.6])) == pytest.approx(2 / 3)


@given(SCORES)
def test_is_a_share_and_symmetric(pairs):
    ens, vsnl = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    weight = adaptive_weight(ens, vsnl)
    assert 0.0 <= weight <= 1.0
    assert weight + adaptive_weight(vsnl, ens) == pytest.approx(1.0)
    if float(ens.mean()) < float(vsnl.mean()) - 1e-9:
        assert weight > 0.5


def test_nothing_to_choose_by():
    assert adaptive_weight(torch.empty(0), torch.empty(0)) == 0.5
    assert adaptive_weight(torch.ones(3), torch.ones(3)) == 0.5


def test_an_empty_bank_leaves_all_to_the_other():
    scores = torch.tensor([0.2, 0.4])
    assert adaptive_weight(None, scores) == 0.0
    assert adaptive_weight(scores, None) == 1.0
    assert torch.equal(adaptive_score(None, scores, 0.3), scores)
    assert torch.equal(adaptive_score(scores, None, 0.3), scores)
    for call in (lambda: adaptive_weight(None, None), lambda: adaptive_score(None, None, 0.5)):
        with pytest.raises(ValueError, match="both banks are empty"):
            call()


@given(SCORES, st.floats(0, 1))
def test_score_lies_between_the_two(pairs, weight):
    ens, vsnl = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    score = adaptive_score(ens, vsnl, weight)
    assert (score >= torch.minimum(ens, vsnl) - 1e-12).all()
    assert (score <= torch.maximum(ens, vsnl) + 1e-12).all()


def test_misuse():
    with pytest.raises(ValueError, match="one length"):
        adaptive_weight(torch.zeros(2), torch.zeros(3))
    for bad in (1.5, -0.1, torch.nan):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            adaptive_weight(torch.tensor([bad]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="shapes"):
        adaptive_score(torch.zeros(2), torch.zeros(3), 0.5)
    with pytest.raises(ValueError, match="weight"):
        adaptive_score(torch.zeros(2), torch.zeros(2), 1.5)
