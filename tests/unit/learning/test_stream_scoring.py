"""Scoring one batch, and what it teaches: against the formulas written out."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.scoring import balance, balanced_scores, remember, score_batch, settle
from ants_engine.learning.state import AdaptationState, start_threshold, start_weight
from ants_engine.method.threshold import otsu_threshold
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from tests.unit.detector.detectors import DIM, small_detector, unit_rows, untaught


def settings(**scoring: Any) -> Settings:
    return load_settings(environment={}, scoring=scoring)


def look(count: int, seed: int) -> EncodedBatch:
    return small_detector().look(unit_rows(count, seed))


def mass(id_logits: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    return torch.cat([id_logits, negatives], dim=1).double().softmax(dim=1)[:, : id_logits.shape[1]].sum(dim=1)


@pytest.mark.parametrize(
    ("scoring", "weight"),
    [
        ({}, 0.5),
        ({"weight": 0.3}, 0.3),
        ({"weight": "balanced"}, 0.5),
        ({"in_score": "far_only"}, 1.0),
        ({"in_score": "near_only", "weight": 0.3}, 0.0),
        ({"in_score": "union"}, 0.5),
    ],
)
def test_the_weight_before_anything_is_known(scoring: dict[str, Any], weight: float) -> None:
    assert start_weight(settings(**scoring)) == weight
    state = AdaptationState.cold(small_detector(), settings(**scoring))
    assert (state.detector.weight, state.detector.threshold) == (weight, 0.5)
    assert start_threshold(settings(threshold=0.25)) == 0.25


def test_a_cold_start_empties_the_banks_and_keeps_the_rest() -> None:
    detector = small_detector()
    state = AdaptationState.cold(detector, settings())
    assert (len(state.detector.ens), len(state.detector.vsnl), state.detector.activation) == (0, 0, None)
    assert state.detector.initial is detector.initial
    assert state.gamma == 0.9
    for queue in (state.recent, state.recent_initial, state.recent_scores, state.past_scores, state.activation_scores):
        assert len(queue) == 0


def test_the_balanced_scores_are_cut_as_the_public_code_cuts_them() -> None:
    detector = small_detector(ens=7, vsnl=2)
    first = look(5, 4)
    far, near = balanced_scores(replace(detector, permute=False), first)
    ens, vsnl = detector.bank_logits(first, detector.ens), detector.bank_logits(first, detector.vsnl)
    # three classes: groups of three, the seventh sentence dropped; two look-alikes ten times are six groups of three
    torch.testing.assert_close(
        far.double(), (mass(first.id_logits, ens[:, :3]) + mass(first.id_logits, ens[:, 3:6])) / 2, atol=1e-6, rtol=0
    )
    repeated = torch.cat([vsnl] * 10, dim=1)
    groups = [mass(first.id_logits, repeated[:, start : start + 3]) for start in range(0, 18, 3)]
    torch.testing.assert_close(near.double(), torch.stack(groups).mean(dim=0), atol=1e-6, rtol=0)
    for pair in zip(balanced_scores(small_detector(ens=0, vsnl=0), first), (first.initial,) * 2, strict=True):
        assert torch.equal(*pair)


def test_the_balanced_weight_runs_over_every_picture() -> None:
    chosen = settings(weight="balanced")
    state = untaught(small_detector(), chosen)
    sums, count = [0.0, 0.0], 0
    for seed, size in ((1, 4), (2, 1), (3, 9)):
        batch = look(size, seed)
        state, columns = score_batch(state, batch, chosen)
        for side, scores in enumerate(balanced_scores(small_detector(), batch)):
            sums[side] += float(scores.double().sum())
        count += size
        far, near = (1 - each / count for each in sums)
        assert state.detector.weight == pytest.approx(far / (far + near))
        weight = state.detector.weight
        expected = weight * columns["ens_score"] + (1 - weight) * columns["vsnl_score"]
        torch.testing.assert_close(state.recent_scores.tensor()[-size:], expected)
        assert state.detector.threshold == otsu_threshold(state.recent_scores.tensor())
    assert settle(state, chosen) is state
    # over a whole history at once, as a frozen build does
    features = torch.cat([unit_rows(size, seed) for seed, size in ((1, 4), (2, 1), (3, 9))])
    initial = torch.cat([look(size, seed).initial for seed, size in ((1, 4), (2, 1), (3, 9))])
    found = balance(small_detector(), features, initial, torch.empty(0, DIM), chosen)
    assert found.weight == pytest.approx(state.detector.weight)


def test_an_empty_batch_teaches_nothing() -> None:
    for scoring in ({}, {"weight": "balanced"}, {"activation": {"enabled": True}}):
        chosen = settings(**scoring)
        state = untaught(small_detector(), chosen)
        after, columns = score_batch(state, small_detector().look(torch.empty(0, DIM)), chosen)
        assert after is state
        assert {len(column) for column in columns.values()} == {0}


def test_the_adaptive_weight_follows_the_negative_images() -> None:
    chosen = settings()
    state = replace(untaught(small_detector(), chosen), negatives=unit_rows(6, 11))
    for seed in (1, 2):
        state = remember(state, look(5, seed))
    found = settle(state, chosen).detector
    over = small_detector().look(unit_rows(6, 11))
    far = 1 - float(mass(over.id_logits, small_detector().bank_logits(over, small_detector().ens)).mean())
    near = 1 - float(mass(over.id_logits, small_detector().bank_logits(over, small_detector().vsnl)).mean())
    assert found.weight == pytest.approx(far / (far + near), abs=1e-6)
    history = torch.cat([unit_rows(5, 1), unit_rows(5, 2)])
    scores = torch.from_numpy(replace(small_detector(), weight=found.weight).score(history).id_score)
    assert found.threshold == pytest.approx(otsu_threshold(scores), abs=1e-6)


@pytest.mark.parametrize(("ens", "vsnl", "weight"), [(0, 4, 0.0), (5, 0, 1.0), (0, 0, 0.5)])
def test_an_empty_bank_has_no_share(ens: int, vsnl: int, weight: float) -> None:
    chosen = settings()
    state = replace(untaught(small_detector(ens, vsnl), chosen), negatives=unit_rows(6, 11))
    assert settle(remember(state, look(5, 1)), chosen).detector.weight == weight


def test_what_was_set_is_left_alone() -> None:
    chosen = settings(weight=0.125, threshold=0.75)
    state = replace(untaught(small_detector(), chosen), negatives=unit_rows(6, 11))
    found = settle(remember(state, look(5, 1)), chosen).detector
    assert (found.weight, found.threshold) == (0.125, 0.75)


def test_activation_ranks_once_both_sides_are_there() -> None:
    chosen = settings(activation={"enabled": True, "gap": 1.0})
    state = untaught(small_detector(), chosen)
    after, _ = score_batch(state, look(9, 5), chosen)
    assert after.detector.activation is None, "with the widest gap no picture is clearly on a side"
    assert len(after.activation_scores) == 9
    chosen = settings(activation={"enabled": True, "gap": 0.0, "negative_count": 3, "step": 2})
    after, columns = score_batch(state, look(40, 5), chosen)
    ranking = after.detector.activation
    assert ranking is not None
    assert (len(ranking.rows), ranking.step) == (3, 2)
    seen = look(40, 5)
    logits = small_detector().bank_logits(seen, small_detector().ens)[:, ranking.rows]
    steps = torch.stack([mass(seen.id_logits, logits[:, :2]), mass(seen.id_logits, logits)])
    torch.testing.assert_close(columns["ens_score"].double(), steps.mean(dim=0), atol=1e-6, rtol=0)
