import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ants_engine.method.mining import CertainNegatives, mine_negative_images
from ants_engine.method.rounding import share_of

GRID = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.5000001, 0.89, 0.9, 1.0])
SHARES = st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.75, 1.0])
CAPS = st.none() | st.integers(1, 6)


def vector(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def certain_of(scores: torch.Tensor, remaining: int, eta: float, cap: int | None = None) -> list[int]:
    return CertainNegatives(0.9, eta, cap).add(scores, remaining)


def test_by_hand():
    mined = mine_negative_images(vector([0.95, 0.2, 0.9, 0.4, 0.2, 0.8]), gamma=0.9, eta=0.5)
    # 0.9 is no candidate (strictly below); two of the four, the earlier of equals first
    assert mined.indices.tolist() == [1, 4]
    assert mined.threshold == 0.2
    assert mined.candidates == 4


def test_a_share_is_rounded_up_and_capped():
    scores = vector([0.3, 0.1, 0.2])
    assert mine_negative_images(scores, 0.9, 0.5).indices.tolist() == [1, 2]
    capped = mine_negative_images(scores, 0.9, 0.5, max_images=1)
    assert (capped.indices.tolist(), capped.threshold, capped.candidates) == ([1], 0.1, 3)


def test_no_candidates():
    mined = mine_negative_images(vector([0.95, 1.0]), 0.9, 0.5)
    assert (mined.indices.tolist(), mined.threshold, mined.candidates) == ([], None, 0)
    assert mine_negative_images(vector([]), 0.9, 0.5).indices.dtype == torch.int64


@given(st.lists(GRID, max_size=12), SHARES, CAPS)
def test_lowest_scores_are_taken(values, eta, cap):
    mined = mine_negative_images(vector(values), 0.9, eta, cap)
    candidates = sorted((value, row) for row, value in enumerate(values) if value < 0.9)
    count = min(math.ceil(eta * len(candidates) - 1e-9), cap or len(values))
    assert mined.indices.tolist() == [row for _, row in candidates[:count]]


@given(st.lists(GRID, max_size=8), SHARES, CAPS)
def test_with_nothing_to_come_the_certain_ones_are_the_final_set(values, eta, cap):
    final = mine_negative_images(vector(values), 0.9, eta, cap).indices
    assert certain_of(vector(values), 0, eta, cap) == final.tolist()


@settings(max_examples=300)
@given(st.lists(GRID, max_size=10), st.lists(GRID, max_size=8), SHARES, CAPS)
def test_certain_ones_are_in_the_final_set_of_every_completion(known, coming, eta, cap):
    certain = certain_of(vector(known), len(coming), eta, cap)
    final = mine_negative_images(vector(known + coming), 0.9, eta, cap).indices
    assert set(certain) <= set(final.tolist())


@settings(max_examples=300)
@given(st.lists(GRID, max_size=10), st.integers(0, 8), SHARES, CAPS)
def test_whoever_is_not_certain_is_left_out_of_some_completion(known, remaining, eta, cap):
    certain = set(certain_of(vector(known), remaining, eta, cap))
    completions = ([0.0] * remaining, [1.0] * remaining)
    finals = [
        set(mine_negative_images(vector(known + coming), 0.9, eta, cap).indices.tolist()) for coming in completions
    ]
    assert certain == set(range(len(known))) & finals[0] & finals[1]


def test_certain_ones_only_grow_along_a_stream():
    scores = torch.rand(300, generator=torch.Generator().manual_seed(0))
    before: set[int] = set()
    for seen in range(0, 301, 20):
        now = set(certain_of(scores[:seen], 300 - seen, 0.5))
        assert before <= now
        before = now
    assert before == set(mine_negative_images(scores, 0.9, 0.5).indices.tolist())


def test_share_forgives_the_last_bits():
    assert share_of(0.1, 30) == 3
    assert share_of(0.08, 1000) == 80
    assert share_of(0.08, 42) == 4
    assert share_of(0.5, 0) == 0
    assert share_of(1.0, 10**9) == 10**9
    assert all(share_of(step / 100, count) >= 1 for step in range(1, 101) for count in (1, 7, 1000))


@pytest.mark.parametrize(
    "call",
    [
        lambda: mine_negative_images(vector([math.nan]), 0.9, 0.5),
        lambda: mine_negative_images(torch.zeros(2, 2), 0.9, 0.5),
        lambda: mine_negative_images(vector([0.1]), 0.9, 0.0),
        lambda: mine_negative_images(vector([0.1]), 0.9, 1.1),
        lambda: mine_negative_images(vector([0.1]), 0.9, 0.5, 0),
        lambda: certain_of(vector([0.1]), -1, 0.5),
    ],
)
def test_misuse(call):
    with pytest.raises(ValueError, match=r"NaN|vector|share|max_images|remaining"):
        call()


@settings(max_examples=300)
@given(st.lists(st.lists(GRID, max_size=9), max_size=8), st.integers(0, 9), SHARES, CAPS)
def test_a_growing_history_names_what_the_whole_one_names_and_each_picture_once(batches, later, eta, cap):
    certain, seen, named = CertainNegatives(0.9, eta, cap), [], []
    total = sum(map(len, batches)) + later
    for batch in batches:
        seen += batch
        whole = certain_of(vector(seen), total - len(seen), eta, cap)
        new = certain.add(vector(batch), total - len(seen))
        # in the order in which the whole history names them
        assert new == [row for row in whole if row not in named]
        named += new
        assert sorted(named) == sorted(whole)


def test_a_picture_that_cannot_be_scored_is_refused_in_a_growing_history_too():
    certain = CertainNegatives(0.9, 0.5)
    with pytest.raises(ValueError, match="NaN"):
        certain.add(vector([0.1, math.nan]), 3)
    with pytest.raises(ValueError, match="remaining"):
        certain.add(vector([0.1]), -1)
