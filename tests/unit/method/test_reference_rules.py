from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.mining import most_frequent_classes
from ants_engine.method.scoring import balanced_weight


def test_the_most_frequent_come_first_and_ties_go_to_the_first_seen():
    counts = torch.tensor([2, 5, 0, 2, 5])
    first = torch.tensor([7, 3, 99, 1, 0])
    assert most_frequent_classes(counts, first, 40).tolist() == [4, 1, 3, 0]
    assert most_frequent_classes(counts, first, 2).tolist() == [4, 1]
    with pytest.raises(ValueError, match="limit 0"):
        most_frequent_classes(counts, first, 0)


def test_the_balanced_weight_by_hand():
    assert balanced_weight(0.2, 0.6) == pytest.approx(2 / 3)
    assert balanced_weight(1.0, 1.0) == 0.5
    assert balanced_weight(1.0, 0.3) == 0.0


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="first_seen"):
        most_frequent_classes(torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match="counts"):
        most_frequent_classes(torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1, dtype=torch.int64), 1)


def test_what_was_never_predicted_is_not_frequent():
    never = torch.iinfo(torch.int64).max
    assert most_frequent_classes(torch.tensor([0, 0]), torch.tensor([never, never]), 5).tolist() == []
    assert most_frequent_classes(torch.tensor([0, 4]), torch.tensor([never, 2]), 5).tolist() == [1]


@given(st.lists(st.sampled_from(range(6)), max_size=60), st.integers(1, 8))
def test_the_most_frequent_are_those_of_a_counter(predictions, limit):
    counts, first = torch.zeros(6, dtype=torch.int64), torch.full((6,), torch.iinfo(torch.int64).max)
    for place, index in enumerate(predictions):
        counts[index] += 1
        first[index] = min(place, int(first[index]))
    # a counter keeps the order in which it met its keys, and breaks ties by it
    expected = [index for index, _ in Counter(predictions).most_common(limit)]
    assert most_frequent_classes(counts, first, limit).tolist() == expected


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_balanced_weight_is_a_share(far, near):
    weight = balanced_weight(far, near)
    assert 0.0 <= weight <= 1.0
    if 2.0 - far - near > 1e-6:
        assert weight == pytest.approx((1 - far) / (2 - far - near))
