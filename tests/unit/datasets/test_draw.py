import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.datasets.draw import counts, draw, sizes
from ants_engine.errors import UsageError
from tests.unit.evaluation.benchmarks import id_set, ood_set


def sets(ids: int, oods: int, name: str = "near"):
    return id_set([0] * ids), ood_set(oods, name)


def picked(drawn, is_ood: bool) -> list[int]:
    return drawn.rows[drawn.is_ood == is_ood].tolist()


def test_the_order_is_that_of_the_digests() -> None:
    drawn = draw(*sets(2, 1), seed=7)
    names = [("id", 0, False), ("id", 1, False), ("near", 0, True)]
    by_digest = sorted(names, key=lambda one: hashlib.sha256(f"7 order\n{one[0]}\n{one[1]}".encode()).digest())
    assert list(zip(drawn.rows.tolist(), drawn.is_ood.tolist(), strict=True)) == [
        (row, ood) for _, row, ood in by_digest
    ]


@pytest.mark.parametrize(
    ("ids", "oods", "prevalence", "kept"),
    [
        (100, 100, 0.5, (100, 100)),
        (100, 100, 0.2, (100, 25)),
        (840, 760, 0.05, (840, 44)),  # 840 / 19 = 44.2
        (840, 760, 0.01, (840, 8)),  # 840 / 99 = 8.5, and round-half-even has no say: 8.48
        (840, 760, 0.5, (760, 760)),  # too few OOD pictures: all of them, and as many ID ones
        (100, 10, 0.5, (10, 10)),
        (100, 10, 0.2, (40, 10)),
        (9, 3, 0.9, (0, 3)),  # 3 / 9 of a picture
    ],
)
def test_how_many_pictures_a_prevalence_takes(ids: int, oods: int, prevalence: float, kept: tuple[int, int]) -> None:
    assert counts(ids, oods, prevalence) == kept


@given(
    ids=st.integers(1, 60),
    oods=st.integers(1, 60),
    prevalence=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
    share=st.floats(0.05, 1.0),
)
def test_a_draw_is_as_large_as_said_and_near_the_prevalence(
    ids: int, oods: int, prevalence: float, seed: int, share: float
) -> None:
    one, other = sets(ids, oods)
    try:
        expected = sizes(one, other, prevalence, share)
    except UsageError:
        with pytest.raises(UsageError, match="prevalence"):
            draw(one, other, seed, prevalence, share)
        return
    drawn = draw(one, other, seed, prevalence, share)
    assert (drawn.ids, drawn.oods) == expected
    # rounding moves one side by half a picture at most
    assert abs(drawn.oods - prevalence * (drawn.ids + drawn.oods)) <= 0.5
    for is_ood, most in ((False, ids), (True, oods)):
        rows = picked(drawn, is_ood)
        assert len(set(rows)) == len(rows)
        assert set(rows) <= set(range(most))


@given(seed=st.integers(0, 20), low=st.floats(0.05, 0.5), high=st.floats(0.05, 0.5))
def test_a_lower_prevalence_draws_a_part_of_a_higher_one(seed: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    one, other = sets(40, 60)
    less, more = draw(one, other, seed, low), draw(one, other, seed, high)
    assert set(picked(less, True)) <= set(picked(more, True))


def test_seeds_and_sets() -> None:
    one, other = sets(50, 50)
    first, same, next_ = draw(one, other, 0), draw(one, other, 0), draw(one, other, 1)
    assert first.rows.tobytes() == same.rows.tobytes()
    assert first.is_ood.tobytes() == same.is_ood.tobytes()
    assert first.rows.tobytes() != next_.rows.tobytes()
    assert first.prevalence == 0.5
    # the ID pictures keep their order, whatever is mixed in
    assert picked(draw(one, ood_set(20, "far"), 0), False) == picked(first, False)
    # and are really mixed: neither side stands in front
    assert 10 < np.flatnonzero(first.is_ood)[:25].mean() < 40


def test_a_share_takes_the_same_pictures_at_every_seed() -> None:
    one, other = sets(50, 31)
    draws = [draw(one, other, seed, share=0.1) for seed in range(3)]
    assert {(drawn.ids, drawn.oods) for drawn in draws} == {(5, 4)}
    assert len({frozenset(picked(drawn, True)) for drawn in draws}) == 1
    by_prevalence = [frozenset(picked(draw(one, other, seed, 0.1), True)) for seed in range(3)]
    assert len(set(by_prevalence)) == 3


def test_a_prevalence_that_leaves_nothing() -> None:
    with pytest.raises(UsageError, match=r"0\.01 leaves 40 of 40 ID and 0 of 50 OOD pictures \(near\)"):
        draw(*sets(40, 50), seed=0, prevalence=0.01)
