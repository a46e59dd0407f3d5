"""Where the unknown begins: a picture is unknown when its ID score is *below* the threshold."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.rounding import share_of


def otsu_threshold(scores: Tensor) -> float:
    """Split the scores in two so that the weighted variance within the two sides is least (Otsu, 1979).

    Exact: every split between two different neighbouring scores is tried, nothing is binned. Of equally good splits
    the lowest is taken.

    Args:
        scores: ``(N,)`` finite ID scores, N at least 1, in any order.

    Returns:
        The middle between the two scores on either side of the split. When all scores are equal there is nothing to
        split: their value, which makes none of them unknown.

    Raises:
        ValueError: no scores, not a vector, or one that is not finite.
    """
    ordered = sorted_scores(scores)
    count = len(ordered)
    # Centred first: the sums below then lose nothing to a common offset.
    sums = torch.cumsum(ordered - ordered.mean(), dim=0)[:-1]
    below = torch.arange(1, count, dtype=torch.float64)
    # The total variance is fixed, so least variance within is most variance between.
    between = sums.square() / (below * (count - below))
    between[ordered[1:] == ordered[:-1]] = -math.inf
    if count == 1 or bool((between == -math.inf).all()):
        return float(ordered[0])
    split = int(torch.argmax(between))
    low, high = float(ordered[split]), float(ordered[split + 1])
    middle = low + (high - low) / 2
    # Two neighbouring floats have no middle; the upper one still parts them.
    return middle if low < middle else high


def tpr_threshold(id_scores: Tensor, tpr: float = 0.95) -> float:
    """Return the highest threshold that keeps at least the share ``tpr`` of pictures known to be ID.

    Args:
        id_scores: ``(N,)`` finite ID scores of ID pictures, N at least 1.
        tpr: in (0, 1].

    Returns:
        One of the scores; at least ``tpr`` of them are not below it.

    Raises:
        ValueError: no scores, not a vector, one that is not finite, or ``tpr`` outside (0, 1].
    """
    if not 0.0 < tpr <= 1.0:
        raise ValueError(f"tpr must be in (0, 1], not {tpr}")
    ordered = sorted_scores(id_scores)
    return float(ordered[len(ordered) - share_of(tpr, len(ordered))])


def sorted_scores(scores: Tensor) -> Tensor:
    """Return finite scores ``(N,)``, N at least 1, in ascending order, in float64 on the CPU.

    Raises:
        ValueError: no scores, not a vector, or one that is not finite.
    """
    if scores.ndim != 1 or scores.numel() == 0:
        raise ValueError(f"scores must be a vector with at least one entry, not of shape {tuple(scores.shape)}")
    scores = scores.detach().cpu().double()
    if not bool(scores.isfinite().all()):
        raise ValueError("scores must be finite")
    return torch.sort(scores).values


def thinned(ordered: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return an ascending vector, or ``most`` of its entries at even distances when it is longer."""
    if len(ordered) <= most:
        return ordered
    return ordered[((np.arange(most) + 0.5) * (len(ordered) / most)).astype(np.int64)]
