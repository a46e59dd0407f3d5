"""The ID score against a bank of negatives, and what becomes of the scores of two banks.

The softmax mass of the ID classes (paper eq. 3, 8, 12); the adaptive weight between the banks (stage 6; eq. 13, 14);
and activation-aware scoring, which the public code offers: only the negatives that tell low from high scores, best ones
first (TANL, CVPR 2026).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ants_engine.method.masses import IdMass


def id_score(id_logits: Tensor, negative_logits: Tensor) -> Tensor:
    """Softmax mass of the ID classes against the ID classes and the negatives together (paper eq. 3, 8, 12).

    ``S = sum_y exp(l_y) / (sum_y exp(l_y) + sum_n exp(l_n))``, stable for any finite logits.

    Args:
        id_logits: ``(N, C)``, C at least 1; cosines divided by the temperature.
        negative_logits: ``(N, M)``; M may be 0, then every score is 1.

    Returns:
        ``(N,)`` in [0, 1], higher is more ID; float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that do not fit together, or no ID class.
    """
    check_logits(id_logits, negative_logits)
    id_mass = IdMass.of(working(id_logits))
    return id_mass.score(torch.sub(working(negative_logits), id_mass.top).exp_().sum(dim=1, keepdim=True))


def mcm_score(id_logits: Tensor) -> Tensor:
    """Highest softmax probability among the ID classes (MCM, NeurIPS 2022).

    Args:
        id_logits: ``(N, C)``, C at least 1.

    Returns:
        ``(N,)`` in [1/C, 1], higher is more ID; float64 for float64 logits, else float32.

    Raises:
        ValueError: not a matrix, or no ID class.
    """
    check_logits(id_logits, id_logits[:, :0] if id_logits.ndim == 2 else id_logits)
    logits = working(id_logits)
    return torch.exp(logits.amax(dim=1) - torch.logsumexp(logits, dim=1))


def check_logits(id_logits: Tensor, negative_logits: Tensor) -> None:
    """Raise ValueError unless the two are ``(N, C)`` and ``(N, M)`` with C at least 1."""
    if id_logits.ndim != 2 or negative_logits.ndim != 2:
        shapes = f"{tuple(id_logits.shape)} and {tuple(negative_logits.shape)}"
        raise ValueError(f"logits must be matrices (N, C) and (N, M), not of shapes {shapes}")
    if id_logits.shape[0] != negative_logits.shape[0]:
        raise ValueError(f"{id_logits.shape[0]} rows of ID logits, {negative_logits.shape[0]} rows of negative logits")
    if id_logits.shape[1] == 0:
        raise ValueError("at least one ID class is needed")


def working(logits: Tensor) -> Tensor:
    """Return float64 as it is, and everything else as float32: half precision is too coarse for a softmax."""
    return logits if logits.dtype == torch.float64 else logits.float()


def shift_by_id(id_logits: Tensor, negative_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract each row's highest ID logit; return the ID part's logsumexp ``(N,)`` and the shifted negatives.

    The shift changes no score. It keeps the numbers small where a score is neither 0 nor 1, so float32 loses nothing.
    """
    id_logits, negative_logits = working(id_logits), working(negative_logits)
    top = id_logits.amax(dim=1, keepdim=True)
    return torch.logsumexp(id_logits - top, dim=1), negative_logits - top


def adaptive_weight(ens_scores: Tensor | None, vsnl_scores: Tensor | None) -> float:
    """Lambda, the share of S_ens in S_ada (paper eq. 14).

    ``lambda = (1-a) / ((1-a) + (1-b))`` with a, b the means of S_ens and S_vsnl over the negative images: the bank that
    scores the negative images lower gets the larger share.

    Args:
        ens_scores: ``(X,)`` S_ens of the negative images in [0, 1]; ``None`` when the ENS bank is empty.
        vsnl_scores: ``(X,)`` S_vsnl of the same pictures; ``None`` when the VSNL bank is empty.

    Returns:
        A number in [0, 1]; 0.5 when there are no negative images or both banks see nothing in them (a = b = 1);
        1 or 0 when only the ENS or only the VSNL bank holds anything.

    Raises:
        ValueError: both banks are empty (S_nl stands in then), lengths differ, or a score is outside [0, 1].
    """
    if ens_scores is None and vsnl_scores is None:
        raise ValueError("both banks are empty: there is nothing to weigh")
    if ens_scores is None:
        return 0.0
    if vsnl_scores is None:
        return 1.0
    if ens_scores.ndim != 1 or ens_scores.shape != vsnl_scores.shape:
        shapes = f"{tuple(ens_scores.shape)} and {tuple(vsnl_scores.shape)}"
        raise ValueError(f"scores must be two vectors of one length, not of shapes {shapes}")
    if ens_scores.numel() == 0:
        return 0.5
    ens_share, vsnl_share = _mean_outlier_score(ens_scores), _mean_outlier_score(vsnl_scores)
    total = ens_share + vsnl_share
    return ens_share / total if total > 0.0 else 0.5


def balanced_weight(far_mean: float, near_mean: float) -> float:
    """Lambda as the public code has it: the same formula over running means of two *balanced* scores.

    Args:
        far_mean: mean over every picture so far of its score against the ENS bank, cut into groups as long as there are
            ID classes.
        near_mean: the same for the VSNL bank, repeated ten times.

    Returns:
        A number in [0, 1]; 0.5 when neither bank sees anything.
    """
    total = (1.0 - far_mean) + (1.0 - near_mean)
    # the public code compares in float32
    return 0.5 if abs(total) < torch.finfo(torch.float32).eps else min(1.0, max(0.0, (1.0 - far_mean) / total))


def adaptive_score(ens_score: Tensor | None, vsnl_score: Tensor | None, weight: float) -> Tensor:
    """S_ada = lambda * S_ens + (1 - lambda) * S_vsnl (paper eq. 13).

    Args:
        ens_score: ``(N,)`` in [0, 1], higher is more ID; ``None`` when the ENS bank is empty.
        vsnl_score: ``(N,)`` likewise for the VSNL bank. An empty bank leaves all the weight to the other.
        weight: lambda, in [0, 1].

    Returns:
        ``(N,)`` in [0, 1], higher is more ID.

    Raises:
        ValueError: both are ``None``, shapes differ, or the weight is outside [0, 1].
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight must be in [0, 1], not {weight}")
    if ens_score is None or vsnl_score is None:
        only = ens_score if vsnl_score is None else vsnl_score
        if only is None:
            raise ValueError("both banks are empty: there is nothing to weigh")
        return only
    if ens_score.shape != vsnl_score.shape:
        raise ValueError(f"scores of shapes {tuple(ens_score.shape)} and {tuple(vsnl_score.shape)}")
    return weight * ens_score + (1.0 - weight) * vsnl_score


def union_score(ens_score: Tensor, vsnl_score: Tensor) -> Tensor:
    """S against both banks together, out of S against each (ours; not in the paper).

    With r = (1 - S) / S, the ratio of a bank's mass to the ID classes' mass, one softmax over two banks has
    r_ens + r_vsnl. So a picture is as unknown as the bank that knows it says, however little the other bank knows of
    it; a mean, as in eq. 13, lets the bank that knows nothing speak for it.

    Args:
        ens_score: ``(N,)`` in [0, 1], each against one softmax.
        vsnl_score: ``(N,)`` likewise.

    Returns:
        ``(N,)`` in [0, 1], higher is more ID, never above the lower of the two.

    Raises:
        ValueError: shapes differ.
    """
    if ens_score.shape != vsnl_score.shape:
        raise ValueError(f"scores of shapes {tuple(ens_score.shape)} and {tuple(vsnl_score.shape)}")
    # in float64: of two small scores the product must not vanish
    ens, vsnl = ens_score.double(), vsnl_score.double()
    both = ens * vsnl
    mass = ens + vsnl - both
    return torch.where(mass > 0.0, both / mass.clamp(min=torch.finfo(mass.dtype).tiny), 0.0).to(ens_score.dtype)


def _mean_outlier_score(scores: Tensor) -> float:
    scores = scores.detach().double()
    if not bool(((scores >= 0.0) & (scores <= 1.0)).all()):
        raise ValueError("scores must be in [0, 1]")
    return float((1.0 - scores).mean())


@dataclass(frozen=True, slots=True)
class ActivationScore:
    """An activation-aware score, or the reason that there is none."""

    score: Tensor | None
    """``(N,)`` in [0, 1], higher is more ID; ``None`` when no picture was clearly low or none clearly high."""
    selected: int
    """Negatives used."""
    low: int
    """Pictures clearly below the threshold."""
    high: int
    """Pictures clearly above it."""
    order: Tensor | None = None
    """``(selected,)`` int64, columns of the negatives used, best first; ``None`` with ``score``."""


def activation_threshold(scores: Tensor) -> float:
    """Return the threshold among 0.00, 0.01 … 0.99 that minimises the weighted variance of the two sides.

    Args:
        scores: ``(N,)`` past ENS scores, N at least 1, compared in float32; a score at the threshold is above it.

    Returns:
        The first best threshold, a float32 number; the (lower) median when every threshold has an empty side.

    Raises:
        ValueError: no scores, or not a vector.
    """
    if scores.ndim != 1 or scores.numel() == 0:
        raise ValueError(f"scores must be a vector with at least one entry, not of shape {tuple(scores.shape)}")
    ordered = torch.sort(scores.detach().cpu().float()).values
    thresholds = torch.arange(0.0, 1.0, 0.01)
    count = len(ordered)
    below = torch.searchsorted(ordered, thresholds)
    two_sided = (below > 0) & (below < count)
    if not bool(two_sided.any()):
        return float(ordered.median())
    thresholds, below = thresholds[two_sided], below[two_sided]
    centred = ordered.double() - ordered.double().mean()
    sums = torch.cumsum(centred, dim=0)[below - 1]
    # Least variance within the sides is most variance between them.
    between = sums.square() / (below.double() * (count - below).double())
    return float(thresholds[int(torch.argmax(between))])


def cumulative_score(id_logits: Tensor, negative_logits: Tensor, step: int) -> Tensor:
    """Mean ID score while ranked negatives are added ``step`` at a time; the last step may be shorter.

    Args:
        id_logits: ``(N, C)``, C at least 1.
        negative_logits: ``(N, M)``, M at least 1, best negatives first.
        step: at least 1.

    Returns:
        ``(N,)`` in [0, 1], higher is more ID.

    Raises:
        ValueError: shapes do not fit, M is 0, or ``step`` is below 1.
    """
    check_logits(id_logits, negative_logits)
    count = negative_logits.shape[1]
    if step < 1 or count < 1:
        raise ValueError(f"step and the number of negatives must be at least 1, not {step} and {count}")
    id_part, negatives = shift_by_id(id_logits, negative_logits)
    ends = torch.arange(step, count + step, step, device=negatives.device).clamp(max=count) - 1
    masses = torch.logcumsumexp(negatives, dim=1)[:, ends]
    return torch.sigmoid(id_part[:, None] - masses).mean(dim=1).clamp(max=1.0)


def activation_score(
    id_logits: Tensor,
    negative_logits: Tensor,
    reference_confidence: Tensor,
    *,
    threshold: float,
    gap: float,
    max_negatives: int,
    step: int,
) -> ActivationScore:
    """Rank the negatives by how much more low-scoring pictures activate them than high-scoring ones, and score.

    A picture is clearly low below ``threshold * (1 - gap)``, clearly high above ``threshold + gap * (1 - threshold)``.
    A negative's activation is its mean softmax probability (over ID classes and all negatives) on the low pictures
    minus that on the high ones; the ``max_negatives`` best go into `cumulative_score`, best first, ties by column.

    Args:
        id_logits: ``(N, C)``, C at least 1.
        negative_logits: ``(N, M)``, M at least 1.
        reference_confidence: ``(N,)`` ID scores that say which pictures are low and high.
        threshold: in [0, 1], see `activation_threshold`.
        gap: in [0, 1], margin as a share of the way from the threshold to 0 and to 1.
        max_negatives: at least 1.
        step: at least 1.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    check_logits(id_logits, negative_logits)
    if reference_confidence.shape != id_logits.shape[:1]:
        raise ValueError(f"{tuple(reference_confidence.shape)} confidences for {id_logits.shape[0]} pictures")
    if not (0.0 <= threshold <= 1.0 and 0.0 <= gap <= 1.0):
        raise ValueError(f"threshold and gap must be in [0, 1], not {threshold} and {gap}")
    if max_negatives < 1 or step < 1 or negative_logits.shape[1] < 1:
        raise ValueError("max_negatives, step and the number of negatives must be at least 1")
    low = reference_confidence < threshold - gap * threshold
    high = reference_confidence > threshold + gap * (1.0 - threshold)
    low_count, high_count = int(low.sum()), int(high.sum())
    if low_count == 0 or high_count == 0:
        return ActivationScore(score=None, selected=0, low=low_count, high=high_count)
    classes = id_logits.shape[1]
    probabilities = torch.cat((working(id_logits), working(negative_logits)), dim=1).softmax(dim=1)[:, classes:]
    activation = probabilities[low].mean(dim=0) - probabilities[high].mean(dim=0)
    best = torch.argsort(activation, descending=True, stable=True)[:max_negatives]
    score = cumulative_score(id_logits, negative_logits[:, best], step)
    return ActivationScore(score=score, selected=len(best), low=low_count, high=high_count, order=best)
