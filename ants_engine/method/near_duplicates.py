"""Pictures that look like one that is described already: one sentence is enough for all of them."""

import torch
from torch import Tensor

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
