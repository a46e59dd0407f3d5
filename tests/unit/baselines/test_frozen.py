"""The baselines without a memory."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.baselines.baseline import FrozenBaseline, TextSpace
from ants_engine.baselines.frozen import Energy, Eoe, MaxLogit, Mcm, NegLabel, NegLabelOneGroup
from ants_engine.errors import FeatureError, UsageError
from tests.unit.baselines.spaces import PICTURE, hand_space, random_space
from tests.unit.detector.detectors import small_detector, unit_rows

ALL: tuple[type[FrozenBaseline], ...] = (Mcm, MaxLogit, Energy, NegLabel, NegLabelOneGroup, Eoe)


@pytest.mark.parametrize(
    ("made", "by_hand"),
    [
        (Mcm, 16 / 24),
        (MaxLogit, 0.8),
        (Energy, math.log(24)),
        (NegLabel, (24 / 33 + 24 / 40.125) / 2),
        (NegLabelOneGroup, 24 / 49.125),
        (Eoe, 16 / 33 - 0.25 * 8 / 33),
    ],
)
def test_values_worked_out_by_hand(made: type[FrozenBaseline], by_hand: float) -> None:
    predicted, score = made(hand_space()).score(PICTURE)
    assert (predicted.tolist(), predicted.dtype, score.dtype) == ([1], torch.int64, torch.float32)
    assert score.item() == pytest.approx(by_hand, abs=1e-6)


def literal(made: type[FrozenBaseline], space: TextSpace, features: torch.Tensor) -> torch.Tensor:
    """The formulas in float64, as the papers write them."""
    v = torch.nn.functional.normalize(features.double(), dim=1)
    ids = v @ space.class_features.double().T
    negatives = v @ space.negatives.double().T
    tau, classes = space.temperature, ids.shape[1]
    if made is Mcm:
        return (ids / tau).softmax(dim=1).amax(dim=1)
    if made is MaxLogit:
        return ids.amax(dim=1)
    if made is Energy:
        return (ids / tau).exp().sum(dim=1).log()
    if made is Eoe:
        both = torch.cat([ids, v @ space.outlier_features.double().T], dim=1).div(tau).softmax(dim=1)
        return both[:, :classes].amax(dim=1) - 0.25 * both[:, classes:].amax(dim=1)
    parts = (negatives,) if made is NegLabelOneGroup else negatives[:, space.groups.order].split(space.groups.sizes, 1)
    masses = [torch.cat([ids, part], dim=1).div(tau).softmax(dim=1)[:, :classes].sum(dim=1) for part in parts]
    return torch.stack(masses).mean(dim=0)


@pytest.mark.parametrize("made", ALL)
@given(classes=st.integers(1, 6), negatives=st.integers(1, 23), groups=st.integers(1, 5), seed=st.integers(9, 99))
def test_parity_with_the_formulas(
    made: type[FrozenBaseline], classes: int, negatives: int, groups: int, seed: int
) -> None:
    space = random_space(classes, negatives, groups=groups)
    features = unit_rows(7, seed)
    predicted, score = made(space).score(features)
    torch.testing.assert_close(score.double(), literal(made, space, features), atol=2e-5, rtol=2e-5)
    assert predicted.tolist() == (features @ space.class_features.T).argmax(dim=1).tolist()


@pytest.mark.parametrize("made", ALL)
@given(cuts=st.lists(st.integers(0, 40), max_size=5), seed=st.integers(0, 50))
def test_neither_batches_nor_order_nor_length_of_a_feature_matter(
    made: type[FrozenBaseline], cuts: list[int], seed: int
) -> None:
    baseline = made(random_space(3, 11, groups=4))
    features = unit_rows(40, seed)
    predicted, score = baseline.score(features)
    pieces = [baseline.score(torch.as_tensor(part)) for part in np.split(features.numpy(), sorted(cuts))]
    torch.testing.assert_close(torch.cat([part for _, part in pieces]), score, atol=1e-5, rtol=1e-5)
    assert torch.cat([part for part, _ in pieces]).tolist() == predicted.tolist()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    shuffled, other = baseline.score((7 * features.double())[order])
    torch.testing.assert_close(other, score[order], atol=1e-5, rtol=1e-5)
    assert shuffled.tolist() == predicted[order].tolist()


@pytest.mark.parametrize("made", ALL)
def test_order_of_the_classes_does_not_matter(made: type[FrozenBaseline]) -> None:
    space = random_space(5, 9, groups=2)
    order = torch.tensor([3, 0, 4, 1, 2])
    turned = replace(
        space,
        class_names=tuple(space.class_names[place] for place in order),
        class_features=space.class_features[order],
    )
    predicted, score = made(space).score(unit_rows(30, 6))
    other, same = made(turned).score(unit_rows(30, 6))
    torch.testing.assert_close(same, score, atol=1e-5, rtol=1e-5)
    assert order[other].tolist() == predicted.tolist()


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("made", ALL)
def test_extreme_temperatures_give_numbers(made: type[FrozenBaseline], tau: float) -> None:
    _, score = made(random_space(4, 10, groups=3, tau=tau)).score(unit_rows(20, 7))
    assert torch.isfinite(score).all()
    if made is not Energy:
        assert score.min() >= (-1 if made is MaxLogit else -0.25)
        assert score.max() <= 1


@pytest.mark.parametrize("made", ALL)
def test_one_class_no_negative_one_picture_and_none(made: type[FrozenBaseline]) -> None:
    baseline = made(random_space(1, 0, outliers=0))
    predicted, score = baseline.score(unit_rows(1, 8))
    assert predicted.tolist() == [0]
    if made not in {MaxLogit, Energy}:
        assert score.tolist() == [1.0]
    predicted, score = baseline.score(torch.zeros(0, 16))
    assert (predicted.shape, predicted.dtype, score.shape, score.dtype) == ((0,), torch.int64, (0,), torch.float32)


def test_neglabel_is_the_engines_initial_score_to_the_same_bits() -> None:
    detector = small_detector()
    features = unit_rows(2500, 9)
    scores = detector.score(features)
    predicted, score = NegLabel(TextSpace.of(detector)).score(features)
    assert score.numpy().tobytes() == scores.neglabel_score.tobytes()
    assert predicted.tolist() == scores.predicted.tolist()


def test_eoe_falls_with_beta_and_is_mcm_without_labels() -> None:
    features = unit_rows(20, 10)
    space = random_space(3, 5, outliers=6)
    scores = [Eoe(space, beta=beta).score(features)[1] for beta in (0.0, 0.25, 1.0)]
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()
    nobody = random_space(3, 5, outliers=0)
    assert torch.equal(Eoe(nobody).score(features)[1], Mcm(nobody).score(features)[1])
    with pytest.raises(UsageError, match=r"ants_engine\.baselines\.eoe_labels"):
        Eoe(replace(space, outlier_features=None))
    for beta in (-0.1, math.nan):
        with pytest.raises(UsageError, match="beta must be at least 0"):
            Eoe(space, beta=beta)


@pytest.mark.parametrize("made", ALL)
def test_features_that_are_none_are_refused(made: type[FrozenBaseline]) -> None:
    baseline = made(random_space(3, 5))
    for wrong in (torch.zeros(2, 16), torch.full((2, 16), math.nan), unit_rows(2, 1, dim=15), torch.ones(2, 16).int()):
        with pytest.raises(FeatureError):
            baseline.score(wrong)
    before = baseline.score(unit_rows(4, 1))[1]
    baseline.reset()
    assert torch.equal(baseline.score(unit_rows(4, 1))[1], before)
