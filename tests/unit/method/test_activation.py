import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.scoring import activation_score, activation_threshold, cumulative_score, id_score


def logits(columns: int, seed: int, rows: int = 6) -> torch.Tensor:
    return 4 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 20))
def test_cumulative_score_is_the_mean_over_growing_banks(count, step, seed):
    ids, negatives = logits(3, seed), logits(count, seed + 1)
    ends = [*range(step, count, step), count]
    expected = torch.stack([id_score(ids, negatives[:, :end]) for end in ends]).mean(dim=0)
    assert torch.allclose(cumulative_score(ids, negatives, step), expected, atol=1e-12)


def test_threshold_between_two_heaps():
    assert activation_threshold(torch.tensor([0.1, 0.2, 0.805, 0.9])) == pytest.approx(0.21)


def test_a_score_at_the_threshold_is_above_it():
    # 0.25 and 0.75 are float32 numbers: every threshold in (0.25, 0.75] parts them alike, the first is taken
    assert activation_threshold(torch.tensor([0.25, 0.75])) == pytest.approx(0.26)


def test_threshold_without_two_sides_is_the_median():
    assert activation_threshold(torch.tensor([0.5])) == 0.5
    assert activation_threshold(torch.tensor([0.995, 0.991, 0.999, 0.992])) == pytest.approx(0.992)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20))
def test_no_other_threshold_is_better(values):
    scores = torch.tensor(values)

    def within(threshold: float) -> float:
        high = scores >= threshold
        if not high.any() or high.all():
            return float("inf")
        return sum(float(side.double().var(unbiased=False)) * len(side) for side in (scores[high], scores[~high]))

    best = min(within(float(threshold)) for threshold in torch.arange(0.0, 1.0, 0.01))
    if best < float("inf"):
        assert within(activation_threshold(scores)) == pytest.approx(best, abs=1e-9)


def test_ranks_negatives_by_activation():
    # the second negative fires on the low pictures, the first on the high ones
    ids = torch.zeros(4, 2)
    negatives = torch.tensor([[5.0, 0.0, 1.0], [5.0, 0.0, 1.0], [0.0, 5.0, 1.0], [0.0, 5.0, 1.0]])
    confidence = torch.tensor([0.9, 0.95, 0.1, 0.05])
    result = activation_score(ids, negatives, confidence, threshold=0.5, gap=0.5, max_negatives=1, step=2)
    assert (result.selected, result.low, result.high) == (1, 2, 2)
    assert torch.allclose(result.score, id_score(ids, negatives[:, 1:2]))


@pytest.mark.parametrize("confidence", [[0.9, 0.9], [0.1, 0.1], [0.5, 0.5]])
def test_no_score_without_both_sides(confidence):
    result = activation_score(
        logits(2, 0, 2), logits(3, 1, 2), torch.tensor(confidence), threshold=0.5, gap=0.5, max_negatives=2, step=1
    )
    assert result.score is None
    assert result.selected == 0


def test_misuse():
    ids, negatives = logits(2, 0), logits(3, 1)
    with pytest.raises(ValueError, match="step"):
        cumulative_score(ids, negatives, 0)
    with pytest.raises(ValueError, match="number of negatives"):
        cumulative_score(ids, negatives[:, :0], 1)
    with pytest.raises(ValueError, match="vector"):
        activation_threshold(torch.empty(0))
    good = {"threshold": 0.5, "gap": 0.5, "max_negatives": 2, "step": 1}
    for bad in ({"threshold": 1.1}, {"gap": -0.1}, {"max_negatives": 0}, {"step": 0}):
        with pytest.raises(ValueError, match="must be"):
            activation_score(ids, negatives, torch.rand(6), **{**good, **bad})
    with pytest.raises(ValueError, match="confidences"):
        activation_score(ids, negatives, torch.rand(5), **good)


def test_the_order_names_the_columns_that_were_used():
    ids, negatives = logits(3, 1, rows=40), logits(12, 2, rows=40)
    confidence = torch.linspace(0, 1, 40)
    found = activation_score(ids, negatives, confidence, threshold=0.5, gap=0.3, max_negatives=5, step=2)
    assert found.order is not None
    assert (found.order.dtype, len(found.order), found.selected) == (torch.int64, 5, 5)
    assert len(set(found.order.tolist())) == 5
    assert torch.equal(cumulative_score(ids, negatives[:, found.order], 2), found.score)
    everything = activation_score(ids, negatives, confidence, threshold=0.5, gap=0.3, max_negatives=99, step=2)
    assert everything.order[:5].tolist() == found.order.tolist()
    assert sorted(everything.order.tolist()) == list(range(12))
    nothing = activation_score(ids, negatives, torch.ones(40), threshold=0.5, gap=0.3, max_negatives=5, step=2)
    assert nothing.order is None
