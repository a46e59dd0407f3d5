"""Scoring a batch of a stream; lambda and the threshold after the banks have changed (paper eq. 13, 14)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ants_engine.detector.detector import ROWS_AT_ONCE, ActivationRanking, Detector, EncodedBatch
from ants_engine.learning.state import AdaptationState, start_weight
from ants_engine.method.activation import ActivationScore, activation_score, activation_threshold
from ants_engine.method.threshold import otsu_threshold
from ants_engine.method.weighting import adaptive_weight, balanced_weight
from ants_engine.settings.config import Settings

NEAR_REPEATS = 10
"""How often the public code repeats the look-alikes for its balanced score."""


def balance(detector: Detector, features: Tensor, initial: Tensor, negatives: Tensor, settings: Settings) -> Detector:
    """Find lambda and, where it is left to us, the threshold.

    Args:
        detector: with its banks.
        features: (N, D) of the history.
        initial: (N,) S_nl of the same pictures.
        negatives: (X, D) features of the negative images.
        settings: how.
    """
    looks = looks_at(detector, features, initial)
    weighed = replace(detector, weight=find_weight(detector, looks, negatives, settings))
    return replace(weighed, threshold=find_threshold(weighed, looks, settings))


def find_weight(detector: Detector, looks: Sequence[EncodedBatch], negatives: Tensor, settings: Settings) -> float:
    """Return lambda: the fixed one, or what the pictures say.

    Args:
        detector: with its banks.
        looks: at the N pictures of the history.
        negatives: (X, D) features of the negative images.
        settings: how.
    """
    both = settings.scoring.in_score in ("ada", "union")
    if both and settings.scoring.weight == "adaptive":
        return _adaptive(detector, negatives)
    count = sum(len(look.predicted) for look in looks)
    if both and settings.scoring.weight == "balanced" and count:
        far, near = balanced_sums(detector, looks)
        return balanced_weight(far / count, near / count)
    return start_weight(settings)


def find_threshold(detector: Detector, looks: Sequence[EncodedBatch], settings: Settings) -> float:
    """Return the threshold: the fixed one, or what parts the scores of N pictures; the detector has its lambda."""
    threshold = settings.scoring.threshold
    if threshold != "auto":
        return threshold
    if not looks:
        return detector.threshold
    return otsu_threshold(
        torch.cat([detector.fuse(detector.ens_score(look), detector.vsnl_score(look)) for look in looks])
    )


def balanced_sums(detector: Detector, looks: Sequence[EncodedBatch]) -> tuple[float, float]:
    """Return the sums over N pictures of the public code's two scores for lambda."""
    sums = [balanced_scores(detector, look) for look in looks]
    far, near = (sum(float(pair[side].double().sum()) for pair in sums) for side in (0, 1))
    return far, near


def balanced_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return the public code's two scores (N,) for lambda; a bank that is empty counts with S_nl.

    ENS in groups as long as there are ID classes; VSNL the same, repeated ten times before it is cut.
    """
    return ens_scores(detector, look)[1], vsnl_scores(detector, look)[1]


def ens_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return S_ens and its balanced score, each (N,), without regard to activation."""
    if not len(detector.ens):
        return look.initial, look.initial
    return detector.bank_scores(look, detector.ens, len(detector.classes), 1)


def vsnl_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return S_vsnl and its balanced score, each (N,)."""
    if not len(detector.vsnl):
        return look.initial, look.initial
    return detector.bank_scores(look, detector.vsnl, len(detector.classes), NEAR_REPEATS)


def _adaptive(detector: Detector, negatives: Tensor) -> float:
    if not len(detector.ens) and not len(detector.vsnl):
        return 0.5
    # where both banks are weighed over no picture at all, S_nl of them does not matter either
    looks = looks_at(detector, negatives, torch.zeros(len(negatives)))
    ens = [detector.ens_score(look) for look in looks] if len(detector.ens) else None
    vsnl = [detector.vsnl_score(look) for look in looks] if len(detector.vsnl) else None
    return adaptive_weight(
        None if ens is None else torch.cat([negatives.new_empty(0), *ens]),
        None if vsnl is None else torch.cat([negatives.new_empty(0), *vsnl]),
    )


def looks_at(detector: Detector, features: Tensor, initial: Tensor) -> list[EncodedBatch]:
    """Look again at the (N, D) features of a history, whose S_nl (N,) are known, piece by piece."""
    return [
        detector.relook(features[start : start + ROWS_AT_ONCE], initial[start : start + ROWS_AT_ONCE])
        for start in range(0, len(features), ROWS_AT_ONCE)
    ]


def remember(state: AdaptationState, look: EncodedBatch) -> AdaptationState:
    """Keep the latest pictures' features and initial scores."""
    return replace(
        state, recent=state.recent.append(look.features), recent_initial=state.recent_initial.append(look.initial)
    )


def settle(state: AdaptationState, settings: Settings, *, complete: bool = False) -> AdaptationState:
    """Find lambda and the threshold anew, after a bank has changed (paper eq. 13, 14).

    Args:
        state: with its banks.
        settings: how.
        complete: these are all the pictures there are. Without it a batch will follow, and what follows every batch
            is left to `score_batch`: the ranking by activation, and the public code's lambda with its threshold.
    """
    features, initial = state.recent.tensor(), state.recent_initial.tensor()
    detector = state.detector
    if complete:
        detector = ranked_by_activation(detector, features, initial, settings)
    elif settings.scoring.weight == "balanced":
        return state
    return replace(state, detector=balance(detector, features, initial, state.negatives, settings))


def score_batch(
    state: AdaptationState, look: EncodedBatch, settings: Settings
) -> tuple[AdaptationState, dict[str, Tensor]]:
    """Score a batch; return the state with what it has learned of it, and the columns of `Detector.score_columns`."""
    balanced = settings.scoring.weight == "balanced" and settings.scoring.in_score in ("ada", "union")
    bare = replace(state.detector, activation=None)
    if balanced:
        # the balanced scores come out of the same products
        (ens_score, far), (vsnl_score, near) = ens_scores(bare, look), vsnl_scores(bare, look)
    else:
        ens_score, vsnl_score = bare.ens_score(look), bare.vsnl_score(look)
    columns = {
        "predicted": look.predicted,
        "neglabel_score": look.initial,
        "ens_score": ens_score,
        "vsnl_score": vsnl_score,
    }
    if not len(look.predicted):
        return state, columns
    if settings.scoring.activation.enabled and len(state.detector.ens):
        state, columns["ens_score"] = _activated(state, look, columns["ens_score"], settings)
    detector = state.detector
    if balanced:
        state = _balanced(state, far, near)
        detector = replace(
            detector, weight=balanced_weight(state.far_sum / state.balanced, state.near_sum / state.balanced)
        )
    scores = detector.fuse(columns["ens_score"], columns["vsnl_score"])
    state = replace(state, recent_scores=state.recent_scores.append(scores))
    if settings.scoring.threshold == "auto" and settings.scoring.weight == "balanced":
        detector = replace(detector, threshold=otsu_threshold(state.recent_scores.tensor()))
    return replace(state, detector=detector), columns


def ranked_by_activation(detector: Detector, features: Tensor, initial: Tensor, settings: Settings) -> Detector:
    """Rank the sentences by the latest pictures of a history, where the settings ask for it (TANL).

    Args:
        detector: with its banks, and no ranking.
        features: (N, D) of the history.
        initial: (N,) S_nl of the same pictures.
        settings: whether and how.
    """
    activation = settings.scoring.activation
    if not activation.enabled or not len(features) or not len(detector.ens):
        return detector
    keep = activation.queue_size
    past = torch.cat([detector.ens_score(look) for look in looks_at(detector, features[-keep:], initial[-keep:])])
    look = detector.relook(features[-ROWS_AT_ONCE:], initial[-ROWS_AT_ONCE:])
    found = _activation(detector, look, detector.ens_score(look), past, settings)
    if found.order is None:
        return detector
    return replace(detector, activation=ActivationRanking(found.order, activation.step))


def _activated(
    state: AdaptationState, look: EncodedBatch, ens_score: Tensor, settings: Settings
) -> tuple[AdaptationState, Tensor]:
    """Score with the sentences that this batch tells apart best (TANL); keep their ranking for frozen scoring."""
    queue = state.activation_scores.append(ens_score)
    found = _activation(state.detector, look, ens_score, queue.tensor(), settings)
    state = replace(state, activation_scores=queue)
    if found.score is None or found.order is None:
        return state, ens_score
    ranking = ActivationRanking(found.order, settings.scoring.activation.step)
    return replace(state, detector=replace(state.detector, activation=ranking)), found.score


def _activation(
    detector: Detector, look: EncodedBatch, ens_score: Tensor, past: Tensor, settings: Settings
) -> ActivationScore:
    activation = settings.scoring.activation
    return activation_score(
        look.id_logits,
        detector.bank_logits(look, detector.ens),
        ens_score,
        threshold=activation_threshold(past[-activation.queue_size :]),
        gap=activation.gap,
        max_negatives=activation.negative_count,
        step=activation.step,
    )


def _balanced(state: AdaptationState, far: Tensor, near: Tensor) -> AdaptationState:
    return replace(
        state,
        far_sum=state.far_sum + float(far.sum(dtype=torch.float64)),
        near_sum=state.near_sum + float(near.sum(dtype=torch.float64)),
        balanced=state.balanced + len(far),
    )
