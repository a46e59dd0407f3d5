import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ants_engine.method import mining as near_duplicates
from ants_engine.method.mining import unlike


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


NONE = torch.empty(0, 2)


def test_only_the_first_of_near_duplicates_is_wanted() -> None:
    features = unit([[1, 0], [1, 0.01], [0, 1], [0.01, 1], [-1, 0]])
    assert unlike(features, NONE, 0.99) == [True, False, True, False, True]
    assert unlike(features, features[2:3], 0.99) == [True, False, False, False, True]


def test_a_picture_like_one_that_was_left_out_is_held_against_those_that_were_taken() -> None:
    # 8 degrees apart each: the third is like the second, which is not described, and not like the first
    angles = torch.deg2rad(torch.tensor([0.0, 8.0, 16.0]))
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert unlike(features, NONE, 0.985) == [True, False, True]


def test_nothing_is_no_duplicate() -> None:
    assert unlike(NONE, NONE, 0.9) == []
    assert unlike(NONE, unit([[1, 0]]), 0.9) == []
    with pytest.raises(ValueError, match="do not fit together"):
        unlike(torch.ones(2, 3), torch.ones(1, 2), 0.9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.floats(0.2, 0.999), st.integers(0, 1000))
def test_those_wanted_are_unlike_each_other_and_cover_the_rest(
    count: int, known_count: int, cosine: float, seed: int
) -> None:
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(count + known_count, 3, generator=drawn), dim=1)
    features, known = rows[:count], rows[count:]
    wanted = unlike(features, known, cosine)
    taken = torch.cat([known, features[[row for row in range(count) if wanted[row]]]])
    for row in range(count):
        before = torch.cat([known, features[[other for other in range(row) if wanted[other]]]])
        nearest = float((before @ features[row]).amax()) if len(before) else -1.0
        # summed in another order, equal products may differ in the last bit
        if abs(nearest - cosine) > 1e-6:
            assert wanted[row] == (nearest < cosine)
    assert len(taken) == known_count + sum(wanted)


def test_many_known_pictures_are_compared_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(20, 8, generator=drawn), dim=1)
    known = torch.nn.functional.normalize(torch.randn(23, 8, generator=drawn), dim=1)
    whole = unlike(features, known, 0.6)
    assert 0 < sum(whole) < 20
    monkeypatch.setattr(near_duplicates, "ROWS_AT_ONCE", 5)
    assert unlike(features, known, 0.6) == whole
