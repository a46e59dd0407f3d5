"""The grouped score as the formula reads and the public code works: one softmax over all ID classes per group."""

import torch
from torch import Tensor


def logits(features: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return (N, C + M): one matrix product, and a second pass for the temperature."""
    return features @ texts.T / temperature


def grouped(both: Tensor, classes: int, groups: int, seed: int = 0) -> Tensor:
    """Return the mean over the groups of the ID classes' softmax mass (N,).

    The negatives are permuted anew in each call, and the ID classes' exponentials are taken once per group.

    Args:
        both: (N, C + M) logits, ID classes first.
        classes: C.
        groups: G; what does not fill the groups is dropped.
        seed: of the order.
    """
    ids, negatives = both[:, :classes], both[:, classes:]
    length = negatives.shape[1] // groups
    negatives = negatives[:, : groups * length]
    order = torch.randperm(groups * length, generator=torch.Generator().manual_seed(seed))
    negatives = negatives.T[order].T.reshape(len(both), groups, length)
    scores = []
    for group in range(groups):
        whole = torch.cat([ids, negatives[:, group]], dim=1).softmax(dim=1)
        scores.append(whole[:, :classes].sum(dim=1))
    return torch.stack(scores, dim=1).mean(dim=1)
