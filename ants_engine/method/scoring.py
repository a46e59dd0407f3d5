"""ID score of pictures against a bank of negatives: the softmax mass of the ID classes."""

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
