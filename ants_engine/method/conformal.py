"""Split conformal calibration: a threshold, p-values and a false discovery rate out of pictures known to be ID.

Fresh ID pictures that are exchangeable with the calibration pictures are flagged with a probability that is known in
advance, whatever the distribution of the scores (Vovk et al. 2005; Lei et al. 2018). One convention throughout: a
picture is unknown when its score is *strictly below* the threshold, so a tie counts as known and errs on that side.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.threshold import sorted_scores


@dataclass(frozen=True, slots=True)
class ConformalThreshold:
    """A threshold, and what it promises."""

    threshold: float
    """One of the calibration scores: a picture below it is unknown."""
    rank: int
    """k: it is the k-th lowest of them."""
    pictures: int
    """n, the number of calibration pictures."""

    @property
    def expected_false_alarms(self) -> float:
        """The probability k / (n + 1) that a fresh ID picture is flagged: exact without ties, else an upper bound."""
        return self.rank / (self.pictures + 1)

    @property
    def false_alarms_sd(self) -> float:
        """Spread of the share of fresh ID pictures flagged, from one calibration set to the next.

        Without ties that share is Beta(k, n + 1 − k) distributed (Vovk 2012).
        """
        mean = self.expected_false_alarms
        return math.sqrt(mean * (1.0 - mean) / (self.pictures + 2))


def pictures_needed(false_alarms: float) -> int:
    """Return the least n for which a threshold with this false-alarm rate exists: n ≥ 1/alpha − 1.

    Raises:
        ValueError: ``false_alarms`` is outside (0, 1).
    """
    _check_share("false_alarms", false_alarms)
    return max(1, math.ceil((1.0 / false_alarms - 1.0) * (1.0 - 1e-12)))


def conformal_threshold(scores: Tensor, false_alarms: float = 0.05) -> ConformalThreshold:
    """Return the k-th lowest score of n ID pictures, k = ⌊alpha (n + 1)⌋.

    A fresh ID picture scores below it with probability k / (n + 1) ≤ alpha: its rank among the n + 1 is uniform.

    Args:
        scores: ``(n,)`` finite scores of calibration pictures, higher is more ID, in any order.
        false_alarms: alpha in (0, 1).

    Raises:
        ValueError: no scores, not a vector, one that is not finite, ``false_alarms`` outside (0, 1), or fewer pictures
            than `pictures_needed`; the message has that number.
    """
    needed = pictures_needed(false_alarms)
    ordered = sorted_scores(scores)
    count = len(ordered)
    if count < needed:
        raise ValueError(
            f"{count} pictures are too few to promise a false-alarm rate of {false_alarms:g}: "
            f"it takes at least {needed} pictures known to be ID, or a rate of at least {1 / (count + 1):.3g}"
        )
    rank = max(1, _floor(false_alarms * (count + 1)))
    return ConformalThreshold(threshold=float(ordered[rank - 1]), rank=rank, pictures=count)


def conformal_p_values(scores: Tensor, calibration: Tensor) -> NDArray[np.float64]:
    """Return (1 + #{calibration scores ≤ s}) / (n + 1) for each score s.

    For a fresh ID picture P(p ≤ alpha) ≤ alpha. A picture has p ≤ alpha exactly when it is below
    `conformal_threshold` of that alpha.

    Args:
        scores: ``(N,)`` scores, higher is more ID; NaN where there is none.
        calibration: ``(n,)`` finite scores of ID pictures; n may be 0.

    Returns:
        ``(N,)`` in (0, 1]; NaN where the score is NaN, and everywhere when ``calibration`` is empty.

    Raises:
        ValueError: not vectors, or a calibration score that is not finite.
    """
    if scores.ndim != 1:
        raise ValueError(f"scores must be a vector, not of shape {tuple(scores.shape)}")
    values = scores.detach().cpu().double()
    if calibration.ndim == 1 and not calibration.numel():
        return np.full(len(values), np.nan)
    ordered = sorted_scores(calibration)
    below = torch.searchsorted(ordered, values, right=True).double()
    p_values = (1.0 + below) / (len(ordered) + 1.0)
    p_values[values.isnan()] = math.nan
    found: NDArray[np.float64] = p_values.numpy()
    return found


def benjamini_hochberg(p_values: NDArray[np.float64], fdr: float = 0.1) -> NDArray[np.bool_]:
    """Return which pictures to flag so that at most the share ``fdr`` of the flagged is expected to be ID.

    The m p-values in ascending order: all up to the last with p_(i) ≤ fdr · i / m (Benjamini & Hochberg 1995). It holds
    for conformal p-values that share their calibration pictures (Bates et al. 2023). With n calibration pictures no
    p-value is below 1 / (n + 1), so a single OOD picture among m is found only if n + 1 ≥ m / fdr.

    Args:
        p_values: ``(N,)`` in [0, 1]; NaN is no p-value: it is neither counted nor flagged.
        fdr: in (0, 1).

    Returns:
        ``(N,)`` bool.

    Raises:
        ValueError: not a vector, a value outside [0, 1], or ``fdr`` outside (0, 1).
    """
    _check_share("fdr", fdr)
    if p_values.ndim != 1:
        raise ValueError(f"p_values must be a vector, not of shape {p_values.shape}")
    ordered = np.sort(p_values[~np.isnan(p_values)].astype(np.float64))
    if len(ordered) and not (ordered[0] >= 0.0 and ordered[-1] <= 1.0):
        raise ValueError(f"p_values must be in [0, 1], not {ordered[0]} to {ordered[-1]}")
    # the product's last bits are forgiven, as in the rank of the threshold
    passed = np.flatnonzero(ordered <= fdr * np.arange(1, len(ordered) + 1) / max(1, len(ordered)) * (1.0 + 1e-12))
    cut = ordered[passed[-1]] if len(passed) else -1.0
    flagged: NDArray[np.bool_] = p_values <= cut
    return flagged


def _floor(value: float) -> int:
    """Round down; the last bits are forgiven, so that 0.29 of 100 is 29."""
    return math.floor(value * (1.0 + 1e-12))


def _check_share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must be in (0, 1), not {value}")
