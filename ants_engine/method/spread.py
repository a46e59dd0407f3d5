"""Which of the mined pictures to describe: a spread-out share of them."""

import torch
from torch import Tensor

from ants_engine.method.rounding import share_of


def farthest_first(features: Tensor, count: int) -> Tensor:
    """Return rows of ``(N, D)`` L2-normalised features, farthest point first (greedy k-centre), from row 0 on.

    Each next row is the one whose highest cosine to the rows chosen so far is lowest; of equal ones the first.

    Returns:
        ``(min(count, N),)`` int64.
    """
    near = features.new_full((len(features),), -torch.inf)
    rows = []
    for _ in range(min(count, len(features))):
        row = int(near.argmin())
        rows.append(row)
        near = torch.maximum(near, features @ features[row])
        near[rows] = torch.inf
    return torch.tensor(rows, dtype=torch.int64)


def share_to_describe(mined: int, share: float, least: int, most: int | None = None) -> int:
    """Return how many of the mined pictures are described: the share of them, rounded up, within bounds.

    Args:
        mined: at least 0.
        share: in (0, 1].
        least: so many, or all that there are, however small the share.
        most: never more, if given.
    """
    count = min(mined, max(least, share_of(share, mined)))
    return count if most is None else min(count, most)
