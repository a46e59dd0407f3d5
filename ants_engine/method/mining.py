"""Negative images out of the history (stage 2; paper eq. 5, 6)."""

import heapq
from dataclasses import dataclass

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
