from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method import neglabel
from ants_engine.method.neglabel import mine_negative_labels, nearness


def features(rows: int, seed: int, width: int = 6) -> torch.Tensor:
    raw = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return raw / raw.norm(dim=1, keepdim=True)


@given(st.integers(1, 30), st.integers(1, 12), st.floats(0, 1), st.integers(0, 20))
def test_nearness_is_the_quantile(candidates, classes, quantile, seed):
    texts, names = features(candidates, seed), features(classes, seed + 1)
    expected = torch.quantile(texts @ names.T, quantile, dim=1)
    assert torch.allclose(nearness(texts, names, quantile), expected, atol=1e-5)


def test_nearness_in_pieces(monkeypatch):
    texts, names = features(50, 0), features(7, 1)
    whole = nearness(texts, names)
    monkeypatch.setattr(neglabel, "_CHUNK_ELEMENTS", 20)
    assert torch.allclose(nearness(texts, names), whole, atol=1e-6)


def test_least_near_first():
    classes = torch.tensor([[1.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    assert mine_negative_labels(candidates, classes, 3).tolist() == [2, 1, 3]
    assert mine_negative_labels(candidates, classes, 99).tolist() == [2, 1, 3, 0]


def test_ties_go_to_the_earlier_row():
    candidates = torch.tensor([[0.0, 1.0]]).expand(9, 2)
    assert mine_negative_labels(candidates, torch.tensor([[1.0, 0.0]]), 4).tolist() == [0, 1, 2, 3]


@given(st.lists(st.sampled_from("na"), min_size=1, max_size=40), st.integers(1, 45), st.integers(0, 20))
def test_kinds_keep_their_proportion(kinds, count, seed):
    texts, names = features(len(kinds), seed), features(4, seed + 1)
    chosen = mine_negative_labels(texts, names, count, kinds=kinds).tolist()
    assert len(chosen) == len(set(chosen)) == min(count, len(kinds))
    near = nearness(texts, names)
    assert chosen == sorted(chosen, key=lambda row: (float(near[row]), row))
    share = min(count, len(kinds)) / len(kinds)
    sizes, picked = Counter(kinds), Counter(kinds[row] for row in chosen)
    for kind, size in sizes.items():
        assert abs(picked[kind] - share * size) < 1
        # within a kind the least near are taken
        rows = sorted((row for row in range(len(kinds)) if kinds[row] == kind), key=lambda row: (float(near[row]), row))
        assert {row for row in chosen if kinds[row] == kind} == set(rows[: picked[kind]])


def test_half_precision_features():
    texts, names = features(20, 0).half(), features(3, 1).half()
    assert nearness(texts, names).dtype == torch.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda: mine_negative_labels(features(3, 0), features(2, 1), 0),
        lambda: mine_negative_labels(features(3, 0), features(2, 1), 1, kinds=["noun"]),
        lambda: mine_negative_labels(features(3, 0), features(2, 1), 9, kinds=["noun"]),
        lambda: nearness(features(3, 0), features(2, 1, width=5)),
        lambda: nearness(features(3, 0)[0], features(2, 1)),
        lambda: nearness(features(3, 0), features(2, 1)[:0]),
        lambda: nearness(features(3, 0), features(2, 1), 1.1),
    ],
)
def test_misuse(call):
    with pytest.raises(ValueError, match=r"count|kinds|width|matrices|class|percentile"):
        call()
