"""Stage 6 on a history: lambda and the threshold (paper eq. 13, 14)."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ants_engine.detector.detector import ROWS_AT_ONCE, Detector, EncodedBatch
from ants_engine.learning.state import start_weight
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
