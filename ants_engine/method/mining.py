"""Negative images out of the history (stage 2; paper eq. 5, 6), and the classes that it looks like (stage 4; eq. 10).

Beside the paper's rule: the public code's threshold out of a histogram, and near-duplicates that need no sentence of
their own.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ants_engine.method.rounding import share_of


@dataclass(frozen=True, slots=True)
class NegativeImages:
    """The pictures that are taken for outliers, X_neg."""

    indices: Tensor
    """``(X,)`` int64 on the CPU: positions in the scores, lowest score first, ties by position."""
    threshold: float | None
    """gamma*, the highest score among them; ``None`` when there is none."""
    candidates: int
    """How many scores were below gamma."""


def mine_negative_images(scores: Tensor, gamma: float, eta: float, max_images: int | None = None) -> NegativeImages:
    """Take the share ``eta``, lowest scores first, of the pictures that score below ``gamma``.

    The share is rounded up, so one candidate is enough for one negative image. Of equal scores the earlier picture
    comes first.

    Args:
        scores: ``(N,)`` initial ID scores S_nl of the history in [0, 1], higher is more ID.
        gamma: candidates score strictly below it.
        eta: in (0, 1].
        max_images: take no more than this, lowest scores first.

    Raises:
        ValueError: scores that are no vector or hold NaN, ``eta`` outside (0, 1], ``max_images`` below 1.
    """
    ranked, values = _ranked_candidates(scores, gamma)
    kept = _kept(len(ranked), eta, max_images)
    return NegativeImages(
        indices=ranked[:kept],
        threshold=float(values[kept - 1]) if kept else None,
        candidates=len(ranked),
    )


class CertainNegatives:
    """Pictures of a growing history that `mine_negative_images` will select, whatever the remaining pictures score.

    So an MLLM can be asked about them before the history is complete, and no request is wasted. Each picture is
    examined once, and returned once, as soon as it is certain.

    Let c pictures be candidates so far and K(n) the number taken of n candidates. If r of the R remaining pictures
    become candidates, at most r of them rank before the picture of rank j (from 0), so it is taken if
    ``j + r < K(c + r)``. K grows by at most one per candidate: the worst case is that all R rank before it,
    ``j < K(c + R) - R``. Nothing can rank before a score of 0 (equal scores go to the earlier picture), where
    ``j < K(c)`` is enough. Both conditions are also necessary. With R = 0 the result is the final set.
    """

    def __init__(self, gamma: float, eta: float, max_images: int | None = None) -> None:
        """Begin with no picture; the arguments are those of `mine_negative_images`."""
        self._gamma = gamma
        self._eta = eta
        self._max_images = max_images
        self._waiting: list[tuple[float, int]] = []
        """A heap of (score, position): candidates that are not certain."""
        self._known = 0
        self._candidates = 0
        self._zeros = 0
        self._certain = 0

    def add(self, scores: Tensor, remaining: int) -> list[int]:
        """Take the scores ``(n,)`` of the next pictures; return the positions that are certain now and were not before.

        Args:
            scores: initial ID scores in [0, 1].
            remaining: how many pictures are still to come after these, at least 0.

        Returns:
            Positions in the history, lowest score first, ties by position.

        Raises:
            ValueError: as for `mine_negative_images`, or ``remaining`` is below 0.
        """
        if remaining < 0:
            raise ValueError(f"remaining must be at least 0, not {remaining}")
        ranked, values = _ranked_candidates(scores, self._gamma)
        for position, value in zip(ranked.tolist(), values.tolist(), strict=True):
            heapq.heappush(self._waiting, (value, self._known + position))
        self._known += len(scores)
        self._candidates += len(ranked)
        self._zeros += int((values <= 0.0).sum())
        certain = _certain(self._candidates, self._zeros, remaining, self._eta, self._max_images)
        # those that were certain before are among the lowest, as everything that is certain is
        new = [heapq.heappop(self._waiting)[1] for _ in range(certain - self._certain)]
        self._certain = max(self._certain, certain)
        return new


def _certain(candidates: int, zeros: int, remaining: int, eta: float, max_images: int | None) -> int:
    """Count the lowest candidates that are certain; see `CertainNegatives`."""
    against_all = _kept(candidates + remaining, eta, max_images) - remaining
    return max(0, against_all, min(_kept(candidates, eta, max_images), zeros))


def _ranked_candidates(scores: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Positions and scores of the candidates, lowest first, ties by position."""
    if scores.ndim != 1:
        raise ValueError(f"scores must be a vector, not of shape {tuple(scores.shape)}")
    scores = scores.detach().cpu().double()
    if bool(scores.isnan().any()):
        raise ValueError("scores hold NaN")
    positions = torch.nonzero(scores < gamma).flatten()
    values, order = torch.sort(scores[positions], stable=True)
    return positions[order], values


def _kept(candidates: int, eta: float, max_images: int | None) -> int:
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images must be at least 1, not {max_images}")
    kept = share_of(eta, candidates)
    return kept if max_images is None else min(kept, max_images)


@dataclass(frozen=True, slots=True)
class AdaptiveThreshold:
    """What the history says about where negative images end."""

    threshold: float
    """Later pictures that score below this are candidates."""
    upper_interval: float
    """The bin edge at which the histogram was cut."""


def adaptive_threshold(scores: Tensor, eta: float) -> AdaptiveThreshold:
    """Cut the histogram of all past scores at its steepest step, and take a quantile of what lies below.

    Ten bins of 0.1 over [0, 1]; the cut is the edge between the two neighbouring bins whose counts differ most (the
    first of several). Where no score lies below the cut, all are used. The paper has eq. 6 instead
    (`ants_engine.method.mining`); this is the public code's rule.

    Args:
        scores: ``(N,)`` initial ID scores S_nl so far, N at least 1, used in float32.
        eta: which quantile (linear between neighbours), in [0, 1].

    Raises:
        ValueError: no scores, not a vector, or ``eta`` outside [0, 1].
    """
    if scores.ndim != 1 or scores.numel() == 0:
        raise ValueError(f"scores must be a vector with at least one entry, not of shape {tuple(scores.shape)}")
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in [0, 1], not {eta}")
    values = scores.detach().cpu().float().numpy()
    edges = np.arange(11) * 0.1
    counts, _ = np.histogram(values, bins=edges)
    cut = float(edges[int(np.argmax(np.abs(np.diff(counts)))) + 1])
    # Compared in float32, as the scores are: a score of 0.7f is not below the edge 0.7.
    low = values[values < np.float32(cut)]
    return AdaptiveThreshold(
        threshold=float(np.quantile(low if low.size else values, eta)),
        upper_interval=cut,
    )


ROWS_AT_ONCE = 4096
"""Known pictures that are compared at once, which bounds memory."""


def unlike(features: Tensor, known: Tensor, cosine: float) -> list[bool]:
    """Tell which pictures are near-duplicates neither of a known one nor of an earlier one that is unlike the rest.

    Not part of the paper: frames of one scene give the same sentence again and again, and each costs a request.

    Args:
        features: ``(N, D)`` L2-normalised image features, the most wanted first.
        known: ``(K, D)`` of pictures that are described, or being described.
        cosine: near-duplicates are at least as similar as this.

    Returns:
        N answers; it depends on the features and their order alone.

    Raises:
        ValueError: shapes that do not fit together.
    """
    if features.ndim != 2 or known.ndim != 2 or (len(known) and known.shape[1] != features.shape[1]):
        raise ValueError(f"features {tuple(features.shape)} and known {tuple(known.shape)} do not fit together")
    free = torch.ones(len(features), dtype=torch.bool)
    for start in range(0, len(known), ROWS_AT_ONCE):
        free &= ((features @ known[start : start + ROWS_AT_ONCE].T) < cosine).all(dim=1)
    taken = torch.empty_like(features)
    count = 0
    for row in torch.nonzero(free).flatten().tolist():
        free[row] = bool((taken[:count] @ features[row] < cosine).all())
        if free[row]:
            taken[count] = features[row]
            count += 1
    found: list[bool] = free.tolist()
    return found


def similar_classes(class_features: Tensor, mean_feature: Tensor, delta: float, min_classes: int = 1) -> Tensor:
    """Pick the ID classes with the highest mean cosine to the pictures of the history.

    The mean of the cosines is the cosine's dot product with the *mean feature*, so no picture needs to be kept.

    Args:
        class_features: ``(C, D)``, L2-normalised text features of the ID classes.
        mean_feature: ``(D,)``, mean of the pictures' L2-normalised features, not normalised again.
        delta: share of the classes, in (0, 1], rounded up.
        min_classes: never fewer than this (all, if there are fewer): the paper's share was chosen for 1,000 classes.

    Returns:
        As many as `similar_class_count` says: int64 on the CPU, most similar first, ties by class.

    Raises:
        ValueError: shapes that do not fit, ``delta`` outside (0, 1], ``min_classes`` below 0, NaN.
    """
    if class_features.ndim != 2 or mean_feature.ndim != 1 or class_features.shape[1] != mean_feature.shape[0]:
        shapes = f"{tuple(class_features.shape)} and {tuple(mean_feature.shape)}"
        raise ValueError(f"features must be of shapes (C, D) and (D,), not {shapes}")
    count = similar_class_count(class_features.shape[0], delta, min_classes)
    mean_cosine = (class_features.double() @ mean_feature.double()).cpu()
    if bool(mean_cosine.isnan().any()):
        raise ValueError("features hold NaN")
    return torch.argsort(mean_cosine, descending=True, stable=True)[:count]


def similar_class_count(classes: int, delta: float, min_classes: int = 1) -> int:
    """How many classes `similar_classes` picks: ``max(ceil(delta * C), min(min_classes, C))``.

    Args:
        classes: C, at least 0.
        delta: in (0, 1].
        min_classes: at least 0.

    Raises:
        ValueError: a number outside its range.
    """
    if min_classes < 0:
        raise ValueError(f"min_classes must be at least 0, not {min_classes}")
    return max(share_of(delta, classes), min(min_classes, classes))


def most_frequent_classes(counts: Tensor, first_seen: Tensor, limit: int) -> Tensor:
    """Pick the classes that have been predicted most often (the public code's rule in place of eq. 10).

    Args:
        counts: ``(C,)`` int64, how often each class was predicted.
        first_seen: ``(C,)`` int64, the position of the first picture that was taken for the class; decides ties.
        limit: most classes, at least 1.

    Returns:
        int64 on the CPU, most frequent first, ties by ``first_seen``; classes never predicted are not among them.

    Raises:
        ValueError: shapes differ, or ``limit`` is below 1.
    """
    if counts.ndim != 1 or counts.shape != first_seen.shape or limit < 1:
        raise ValueError(f"counts {tuple(counts.shape)}, first_seen {tuple(first_seen.shape)}, limit {limit}")
    by_age = torch.argsort(first_seen.cpu(), stable=True)
    ranked = by_age[torch.argsort(counts.cpu()[by_age], descending=True, stable=True)]
    return ranked[counts.cpu()[ranked] > 0][:limit]
