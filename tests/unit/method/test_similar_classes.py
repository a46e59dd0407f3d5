import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.mining import similar_class_count, similar_classes


def unit(rows: int, seed: int) -> torch.Tensor:
    raw = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))
    return raw / raw.norm(dim=1, keepdim=True)


@given(st.integers(1, 30), st.sampled_from([0.01, 0.08, 0.5, 1.0]), st.integers(0, 40), st.integers(0, 20))
def test_highest_mean_cosine_first(classes, delta, at_least, seed):
    texts, pictures = unit(classes, seed), unit(25, seed + 1)
    chosen = similar_classes(texts, pictures.mean(dim=0), delta, at_least)
    mean_cosine = (texts.double() @ pictures.double().T).mean(dim=1)
    assert len(chosen) == similar_class_count(classes, delta, at_least)
    assert torch.allclose(mean_cosine[chosen], mean_cosine.sort(descending=True).values[: len(chosen)], atol=1e-6)


def test_count():
    assert similar_class_count(1000, 0.08) == 80
    assert similar_class_count(1000, 0.08, 80) == 80
    assert similar_class_count(2000, 0.08, 80) == 160
    assert similar_class_count(42, 0.08, 80) == 42
    assert similar_class_count(42, 0.08, 0) == 4


def test_ties_go_to_the_earlier_class():
    assert similar_classes(torch.ones(5, 2), torch.ones(2), 0.5).tolist() == [0, 1, 2]


def test_misuse():
    with pytest.raises(ValueError, match="shapes"):
        similar_classes(torch.ones(5, 2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match="min_classes"):
        similar_class_count(5, 0.5, -1)
    with pytest.raises(ValueError, match="share"):
        similar_class_count(5, 0.0)
    with pytest.raises(ValueError, match="NaN"):
        similar_classes(torch.ones(5, 2), torch.full((2,), torch.nan), 0.5)
