"""A threshold without a judge and without labels: the ID pictures' own distribution, estimated from the mixture.

The *empirical null* (Efron 2004) is the distribution of the ID pictures' scores, read off that part of the history that
is hardly touched by OOD pictures. Two cases. Where the scores fall into two clearly separate groups, it is the upper
component of a Gaussian mixture. Otherwise the upper tail, which is all ID, is mirrored at the median.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.threshold import otsu_threshold, sorted_scores, thinned

ASHMAN = 2.5
"""Two components are apart when Ashman's D is above this (2 is the usual bound for bimodality)."""
LEAST_WEIGHT = 0.05
VALLEY = 0.8
"""The density between the two peaks falls below this share of the lower one."""
PEAK = 0.1
"""A peak counts when it has this share of the highest density."""
MOST_SCORES = 4096
"""More scores are thinned to this number of quantiles."""

Floats = NDArray[np.float64]


class NullRule(StrEnum):
    """How the ID pictures' distribution was estimated."""

    MIXTURE = "mixture"
    """The scores are bimodal: mean and standard deviation of the upper Gaussian component."""
    MIRROR = "mirror"
    """They are not: the upper tail, mirrored at the median."""


@dataclass(frozen=True, slots=True)
class EmpiricalNull:
    """A threshold, and how it was found."""

    threshold: float
    """On the scale of the scores; a picture below it is unknown."""
    rule: NullRule
    ashman: float
    """Ashman's D of the two components: the distance of their means in units of their spread."""
    lower_weight: float
    """Share of the lower component in the mixture: the share of OOD pictures, where the rule is ``mixture``."""


def empirical_null(scores: Tensor, false_alarms: float = 0.05) -> EmpiricalNull:
    """Return a threshold below which about the share ``false_alarms`` of the ID pictures lies.

    If a two-component Gaussian mixture has Ashman's D > 2.5 and both weights above 5 %, and a kernel density has a
    valley below 0.8 of the lower peak: mean − z·sd of the upper component, z the normal quantile (1.645 at 0.05).
    Otherwise 2·q50 − q95, q95 being the quantile at 1 − ``false_alarms``.

    Args:
        scores: ``(N,)`` finite scores, N at least 1, higher is more ID. Log-odds, not probabilities: a Gaussian has no
            place in [0, 1].
        false_alarms: in (0, 0.5).

    Raises:
        ValueError: no scores, not a vector, one that is not finite, or ``false_alarms`` outside (0, 0.5).
    """
    if not 0.0 < false_alarms < 0.5:
        raise ValueError(f"false_alarms must be in (0, 0.5), not {false_alarms}")
    values: Floats = thinned(sorted_scores(scores).numpy(), MOST_SCORES)
    middle, high = np.quantile(values, [0.5, 1.0 - false_alarms])
    mirror = float(2.0 * middle - high)
    if values[0] == values[-1]:
        return EmpiricalNull(mirror, NullRule.MIRROR, 0.0, 0.0)
    means, deviations, weights = _mixture(values)
    ashman = float(abs(means[1] - means[0]) / math.sqrt(float((deviations**2).sum()) / 2.0))
    upper = int(means.argmax())
    lower_weight = float(weights[1 - upper])
    if ashman > ASHMAN and float(weights.min()) > LEAST_WEIGHT and _has_valley(values):
        cut = float(means[upper] - NormalDist().inv_cdf(1.0 - false_alarms) * deviations[upper])
        return EmpiricalNull(cut, NullRule.MIXTURE, ashman, lower_weight)
    return EmpiricalNull(mirror, NullRule.MIRROR, ashman, lower_weight)


def _mixture(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit two Gaussians by EM; return means, standard deviations and weights. Deterministic: it starts at Otsu's split.

    A component's standard deviation stays above 0.1 % of the whole, so that none shrinks onto tied scores.
    """
    least = 1e-3 * float(values.std())
    split = otsu_threshold(torch.from_numpy(values))
    upper = values >= split
    parts = (values[~upper], values[upper])
    means = np.array([part.mean() for part in parts])
    deviations = np.maximum([part.std() for part in parts], least)
    weights = np.array([len(part) / len(values) for part in parts])
    past = -math.inf
    for _ in range(200):
        density = np.log(weights) - np.log(deviations) - 0.5 * ((values[:, None] - means) / deviations) ** 2
        top = density.max(axis=1, keepdims=True)
        shares = np.exp(density - top)
        total = shares.sum(axis=1, keepdims=True)
        likelihood = float((top + np.log(total)).mean())
        if likelihood - past < 1e-9:
            break
        past = likelihood
        shares /= total
        counts = shares.sum(axis=0) + 1e-9
        means = (shares * values[:, None]).sum(axis=0) / counts
        deviations = np.maximum(np.sqrt((shares * (values[:, None] - means) ** 2).sum(axis=0) / counts), least)
        weights = counts / counts.sum()
    return means, deviations, weights


def _has_valley(values: Floats) -> bool:
    """Whether a kernel density has a valley below `VALLEY` of the lower peak, left of the last peak."""
    spread = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34
    spread = min(float(values.std()), spread) or float(values.std())
    # Silverman's rule, a little smooth: it would rather see one heap than two
    width = 1.06 * spread * len(values) ** -0.2
    grid = np.linspace(values[0] - width, values[-1] + width, 512)
    density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(axis=1)
    inner = density[1:-1]
    peaks = 1 + np.flatnonzero((inner >= density[:-2]) & (inner > density[2:]) & (inner >= PEAK * density.max()))
    return any(density[peak : peaks[-1]].min() < VALLEY * min(density[peak], density[peaks[-1]]) for peak in peaks[:-1])
