"""Scores from partial sums, against the softmax written out in float64."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ants_engine.method import masses
from ants_engine.method.masses import Cut, IdMass, bank_masses
from ants_engine.method.neglabel import Groups, equal_groups, equal_sizes, grouped_score, public_groups
from tests.unit.detector.detectors import unit_rows

DIM = 8


def scores(features: Tensor, classes: Tensor, cut: Cut, tau: float) -> tuple[Tensor, Tensor]:
    id_mass = IdMass.of(features @ classes.T / tau)
    first, second = bank_masses(features / tau, cut, id_mass.top)
    return id_mass.score(first), id_mass.score(second)


def literal(features: Tensor, classes: Tensor, bank: Tensor, sizes: Sequence[int], tau: float) -> Tensor:
    ids, negatives = features.double() @ classes.double().T, features.double() @ bank.double().T
    parts = negatives[:, : sum(sizes)].split(list(sizes), dim=1)
    found = [torch.cat([ids, part], dim=1).div(tau).softmax(dim=1)[:, : len(classes)].sum(dim=1) for part in parts]
    return torch.stack(found).mean(dim=0)


@given(
    rows=st.integers(1, 9),
    count=st.integers(1, 60),
    groups=st.integers(1, 9),
    columns=st.integers(1, 70),
    tau=st.sampled_from([0.005, 0.01, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_any_cut_in_any_pieces_is_the_softmax(
    rows: int, count: int, groups: int, columns: int, tau: float, seed: int
) -> None:
    features, classes, bank = (unit_rows(n, seed + i, DIM) for i, n in enumerate((rows, 3, count)))
    sizes = equal_sizes(count, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masses, "COLUMNS", columns)
        found, _ = scores(features, classes, Cut(bank, sizes), tau)
    # a logit is 1 / tau long and carries float32's rounding
    torch.testing.assert_close(found.double(), literal(features, classes, bank, sizes, tau), atol=3e-6 / tau, rtol=0)


@given(count=st.integers(1, 40), length=st.integers(1, 12), second=st.integers(1, 50), repeats=st.integers(1, 4))
def test_a_second_cut_comes_out_of_the_same_exponentials(count: int, length: int, second: int, repeats: int) -> None:
    features, classes, bank = unit_rows(5, 1, DIM), unit_rows(3, 2, DIM), unit_rows(count, 3, DIM)
    first = public_groups(count, length, permute=True, seed=0)
    other = public_groups(count * repeats, second, permute=True, seed=0)
    order = first.whole_order(count)
    assert sorted(order.tolist()) == list(range(count))
    cut = Cut(bank[order], first.sizes, other.counts(count)[order])
    found = scores(features, classes, cut, 0.1)
    ids, negatives = features @ classes.T / 0.1, features @ bank.T / 0.1
    repeated = negatives.repeat(1, repeats)
    torch.testing.assert_close(found[0], _whole(ids, negatives, first), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], _whole(ids, repeated, other), atol=1e-5, rtol=0)


def _whole(ids: Tensor, negatives: Tensor, groups: Groups) -> Tensor:
    return grouped_score(ids, negatives if groups.order is not None else negatives[:, : groups.total], groups)


@pytest.mark.parametrize("tau", [1e-4, 1e-3, 0.01, 1.0, 1e4])
def test_no_logit_scale_is_too_large(tau: float) -> None:
    features, classes, bank = unit_rows(50, 1, DIM), unit_rows(3, 2, DIM), unit_rows(40, 3, DIM)
    found, _ = scores(features, classes, Cut(bank, (20, 20)), tau)
    exact = literal((features / tau).double(), classes, bank, (20, 20), 1.0)
    assert bool(((found >= 0) & (found <= 1)).all())
    # where logits are in the thousands, their own rounding may turn a score that is neither 0 nor 1
    clear = (exact < 1e-3) | (exact > 0.999)
    torch.testing.assert_close(found[clear].double(), exact[clear], atol=2e-3, rtol=0)


def test_a_picture_far_from_every_text_is_scored_as_the_softmax_scores_it() -> None:
    # every cosine is -1: exp(100 * (cos - 1)) would be nothing at all
    features, away = torch.eye(1, DIM), -torch.eye(1, DIM)
    found, _ = scores(features, away.expand(3, DIM), Cut(away.expand(5, DIM), (5,)), 0.001)
    assert found.item() == pytest.approx(3 / 8)
    one_sided, _ = scores(features, away, Cut(-away, (1,)), 0.001)
    assert one_sided.item() == 0.0


def test_a_picture_is_scored_the_same_in_any_company() -> None:
    classes, bank, features = unit_rows(3, 2, DIM), unit_rows(70, 3, DIM), unit_rows(6, 1, DIM)
    # a picture that overflows beside one that does not
    features[3] = -classes.mean(dim=0) / classes.mean(dim=0).norm()
    cut = Cut(bank, equal_sizes(70, 7))
    together, _ = scores(features, classes, cut, 0.01)
    backwards, _ = scores(features.flip(0), classes, cut, 0.01)
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-6, rtol=0)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest new tensor holds."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not func.is_view:
            self.found = max(self.found, out.numel())
        return out


def test_memory_does_not_grow_with_the_bank() -> None:
    features, classes = unit_rows(64, 1, DIM), unit_rows(100, 2, DIM)
    found = []
    for count in (20_000, 100_000):
        cut = Cut(unit_rows(count, 3, DIM), equal_sizes(count, 100))
        with Largest() as largest:
            scores(features, classes, cut, 0.01)
        found.append(largest.found)
    assert found[0] == found[1] <= len(features) * masses.COLUMNS


def test_groups_longer_than_the_bank_are_refused() -> None:
    with pytest.raises(ValueError, match="groups of 9 negatives do not fit a bank of 8"):
        Cut(unit_rows(8, 1, DIM), (5, 4))
    with pytest.raises(ValueError, match="not 3 and 0"):
        equal_sizes(3, 0)
    assert equal_sizes(0, 4) == ()
    assert equal_sizes(7, 3) == equal_groups(7, 3, 0).sizes == (3, 2, 2)
