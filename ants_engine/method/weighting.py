"""The adaptive weight between the two kinds of negatives (stage 6; paper eq. 13, 14)."""

import torch
from torch import Tensor


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
