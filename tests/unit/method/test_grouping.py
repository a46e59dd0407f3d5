import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.neglabel import Groups, equal_groups, grouped_score, reference_groups
from ants_engine.method.scoring import id_score


def logits(columns: int, seed: int) -> torch.Tensor:
    return 8 * torch.randn(5, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_by_one(ids: torch.Tensor, negatives: torch.Tensor, groups: Groups) -> torch.Tensor:
    order = torch.arange(groups.total) if groups.order is None else groups.order
    return torch.stack([id_score(ids, negatives[:, part]) for part in order.split(groups.sizes)]).mean(dim=0)


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5))
def test_equal_groups_use_every_negative_once(count, wanted, seed):
    groups = equal_groups(count, wanted, seed)
    assert sorted(groups.order.tolist()) == list(range(count))
    assert len(groups.sizes) == min(count, wanted)
    assert sum(groups.sizes) == count
    assert max(groups.sizes) - min(groups.sizes) <= 1
    assert list(groups.sizes) == sorted(groups.sizes, reverse=True)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 50))
def test_score_is_the_mean_over_the_groups(count, wanted, seed):
    ids, negatives = logits(4, seed), logits(count, seed + 1)
    groups = equal_groups(count, wanted, seed)
    expected = one_by_one(ids, negatives, groups)
    assert torch.allclose(grouped_score(ids, negatives, groups), expected, atol=1e-12)
    # a bank that was put in order beforehand gives the same bits
    assert torch.equal(
        grouped_score(ids, negatives[:, groups.order], groups.ordered()), grouped_score(ids, negatives, groups)
    )


@given(st.integers(1, 40), st.integers(1, 50), st.booleans())
def test_reference_groups(count, length, permute):
    groups = reference_groups(count, length, permute=permute)
    assert len(groups.sizes) == max(1, count // length)
    assert len(set(groups.sizes)) == 1
    # the remainder is dropped from the bank's end, before anything is permuted
    assert sorted(groups.order.tolist()) == list(range(groups.total))
    assert count - groups.total < len(groups.sizes)
    ids, negatives = logits(3, 0), logits(count, 1)
    assert torch.allclose(grouped_score(ids, negatives, groups), one_by_one(ids, negatives, groups), atol=1e-12)


def test_the_order_follows_the_seed_alone():
    first = equal_groups(50, 5, 1).order
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(equal_groups(50, 5, 1).order, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(equal_groups(50, 5, 2).order, first)


def test_one_group_is_the_plain_score():
    ids, negatives = logits(3, 0), logits(7, 1)
    assert torch.allclose(grouped_score(ids, negatives, equal_groups(7, 1, 0)), id_score(ids, negatives), atol=1e-12)


def test_saturated_groups_stay_finite_and_within_one():
    ids = torch.tensor([[100.0, 90.0], [-100.0, -100.0]])
    negatives = torch.tensor([[-100.0] * 70, [100.0] * 70])
    scores = grouped_score(ids, negatives, equal_groups(70, 7, 0))
    assert scores.tolist() == [1.0, 0.0]


def test_no_negatives():
    groups = equal_groups(0, 5, 0)
    assert grouped_score(logits(3, 0), logits(0, 1), groups).tolist() == [1.0] * 5
    assert groups.ordered() == groups


def test_misuse():
    ids, negatives = logits(3, 0), logits(7, 1)
    with pytest.raises(ValueError, match="do not fit"):
        grouped_score(ids, negatives, equal_groups(8, 2, 0))
    with pytest.raises(ValueError, match="do not fit"):
        grouped_score(ids, negatives, equal_groups(6, 2, 0).ordered())
    for count, groups in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least"):
            equal_groups(count, groups, 0)
    for count, length in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least"):
            reference_groups(count, length, permute=True)
