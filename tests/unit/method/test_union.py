import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.scoring import id_score, union_score

LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=6)


@given(LOGITS, LOGITS, LOGITS)
def test_is_one_softmax_over_both_banks(ids, ens, vsnl):
    ids, ens, vsnl = (torch.tensor([row], dtype=torch.float64) for row in (ids, ens, vsnl))
    both = id_score(ids, torch.cat([ens, vsnl], dim=1))
    assert torch.allclose(union_score(id_score(ids, ens), id_score(ids, vsnl)), both, atol=1e-9)


def test_by_hand():
    # masses 1 : 1 and 1 : 3 make 1 : 4
    assert union_score(torch.tensor([0.5]), torch.tensor([0.25])).item() == pytest.approx(0.2)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_is_in_range_symmetric_and_below_both(ens, vsnl):
    one, other = torch.tensor([ens]), torch.tensor([vsnl])
    score = union_score(one, other)
    assert torch.equal(score, union_score(other, one))
    assert 0.0 <= score.item() <= min(ens, vsnl)
    assert score.dtype == torch.float32


def test_a_bank_that_sees_nothing_changes_nothing():
    assert union_score(torch.tensor([0.3]), torch.tensor([1.0])).item() == pytest.approx(0.3)


def test_of_two_tiny_scores_the_order_is_kept():
    tiny = torch.tensor([1e-30, 2e-30])
    low, high = union_score(tiny, tiny).tolist()
    assert 0.0 < low < high


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes"):
        union_score(torch.ones(2), torch.ones(3))
