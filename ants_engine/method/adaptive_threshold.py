"""The public code's threshold for negative images, out of a histogram of the whole history (stage 2)."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


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
