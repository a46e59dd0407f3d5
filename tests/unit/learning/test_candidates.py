import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.clip.image_ref import file_ref
from ants_engine.learning.state import Candidate, Candidates


def some(start: int, count: int) -> list[Candidate]:
    return [
        Candidate(number, f"{number}", number % 3, file_ref(number, f"{number}.png"))
        for number in range(start, start + count)
    ]


@given(st.lists(st.integers(0, 7), max_size=15), st.integers(1, 12))
def test_the_latest_are_kept_with_their_numbers(sizes, limit):
    kept, number = Candidates.of(limit, 2), 0
    for size in sizes:
        scores = torch.arange(number, number + size, dtype=torch.float32)
        before = list(kept.items)
        longer = kept.append(some(number, size), scores, scores[:, None].repeat(1, 2))
        assert list(kept.items) == before, "a value never changes"
        kept, number = longer, number + size
        expected = list(range(max(0, number - limit), number))
        assert list(kept.items) == expected
        assert [item.id for item in kept.items.values()] == expected
        assert kept.scores.tensor().tolist() == expected
        assert kept.features.tensor()[:, 1].tolist() == expected
        assert len(kept) == len(expected)


def test_a_described_picture_is_let_go_of_and_keeps_its_place():
    three = Candidates.of(9, 1).append(some(0, 3), torch.zeros(3), torch.zeros(3, 1))
    told = three.described([1, 7])
    assert [item.ref is None for item in told.items.values()] == [False, True, False]
    assert [item.name for item in told.items.values()] == ["0", "1", "2"]
    assert all(item.ref is not None for item in three.items.values())


def test_cleared_has_the_same_room():
    full = Candidates.of(2, 1).append(some(0, 3), torch.zeros(3), torch.zeros(3, 1))
    empty = full.cleared()
    assert (len(full), len(empty), len(empty.scores), len(empty.features)) == (2, 0, 0, 0)
    assert list(empty.append(some(5, 3), torch.zeros(3), torch.zeros(3, 1)).items) == [6, 7]
