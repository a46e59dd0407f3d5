import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.scoring import id_score, mcm_score


def logits(rows: int, columns: int, seed: int, scale: float = 10.0) -> torch.Tensor:
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    scores = id_score(torch.tensor([[math.log(1.0), math.log(2.0)]]), torch.tensor([[math.log(3.0)]]))
    assert scores.tolist() == pytest.approx([0.5])
    assert mcm_score(torch.tensor([[math.log(1.0), math.log(3.0)]])).tolist() == pytest.approx([0.75])


@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 100))
def test_is_the_softmax_mass_of_the_id_classes(classes, negatives, seed):
    both = logits(4, classes + negatives, seed).double()
    expected = both.softmax(dim=1)[:, :classes].sum(dim=1)
    assert torch.allclose(id_score(both[:, :classes], both[:, classes:]), expected, atol=1e-12)
    assert torch.allclose(mcm_score(both), both.softmax(dim=1).amax(dim=1), atol=1e-12)


@given(st.integers(0, 100), st.integers(-1000, 1000))
def test_a_common_offset_changes_nothing_that_float32_can_hold(seed, offset):
    ids, negatives = logits(4, 3, seed), logits(4, 5, seed + 1)
    assert torch.allclose(id_score(ids + offset, negatives + offset), id_score(ids, negatives), atol=1e-3)


def test_more_negatives_never_raise_a_score():
    ids, negatives = logits(20, 4, 0).double(), logits(20, 9, 1).double()
    by_count = torch.stack([id_score(ids, negatives[:, :count]) for count in range(10)])
    assert (by_count.diff(dim=0) <= 1e-12).all()
    assert (by_count[0] == 1).all()


def test_extreme_logits_stay_finite():
    ids = torch.tensor([[1e4, -1e4], [-1e4, -1e4]])
    negatives = torch.tensor([[0.0], [1e4]])
    assert id_score(ids, negatives).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_works_in_float32_or_better(given_type, expected):
    ids, negatives = logits(3, 2, 0).to(given_type), logits(3, 2, 1).to(given_type)
    assert id_score(ids, negatives).dtype == expected
    assert mcm_score(ids).dtype == expected


def test_no_pictures():
    assert id_score(torch.empty(0, 3), torch.empty(0, 2)).shape == (0,)
    assert mcm_score(torch.empty(0, 3)).shape == (0,)


@pytest.mark.parametrize(
    "shapes",
    [((3,), (3, 2)), ((3, 2), (3,)), ((3, 2), (4, 2)), ((3, 0), (3, 2))],
    ids=["vector", "vector2", "rows", "none"],
)
def test_misuse(shapes):
    with pytest.raises(ValueError, match=r"logits|class"):
        id_score(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_misuse_of_mcm():
    with pytest.raises(ValueError, match="matri"):
        mcm_score(torch.zeros(3))
