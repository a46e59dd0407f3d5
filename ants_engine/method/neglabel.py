"""Initial negative labels out of a lexicon (stage 1; NegLabel, ICLR 2024, algorithm 1)."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

_CHUNK_ELEMENTS = 4_000_000


def mine_negative_labels(
    candidate_features: Tensor,
    class_features: Tensor,
    count: int,
    percentile: float = 0.95,
    kinds: Sequence[Hashable] | None = None,
) -> Tensor:
    """Pick the candidates that are least near to the ID classes.

    With ``kinds``, every kind keeps its share of the lexicon (largest remainders), so that the picked nouns and
    adjectives stand in the lexicon's proportion.

    Args:
        candidate_features: ``(K, D)``, L2-normalised text features of the lexicon.
        class_features: ``(C, D)``, L2-normalised text features of the ID classes, C at least 1.
        count: M, at least 1; a larger M than K picks all.
        percentile: in [0, 1]; see `nearness`.
        kinds: K values (``noun``, ``adjective``), or ``None`` to make no difference.

    Returns:
        ``(min(M, K),)`` int64 on the CPU: rows of ``candidate_features``, least near first, ties by row.

    Raises:
        ValueError: shapes, ``count``, ``percentile`` or ``kinds`` do not fit.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    near = nearness(candidate_features, class_features, percentile).cpu()
    total = near.shape[0]
    order = torch.argsort(near, stable=True)
    if kinds is None or count >= total:
        if kinds is not None and len(kinds) != total:
            raise ValueError(f"{len(kinds)} kinds for {total} candidates")
        return order[:count]
    if len(kinds) != total:
        raise ValueError(f"{len(kinds)} kinds for {total} candidates")
    left = _shares(Counter(kinds), count)
    picked: list[int] = []
    for row in order.tolist():
        if left[kinds[row]] > 0:
            left[kinds[row]] -= 1
            picked.append(row)
    return torch.tensor(picked, dtype=torch.int64)


def public_negative_labels(
    candidate_features: Tensor,
    class_features: Tensor,
    count: int,
    percentile: float,
    kinds: Sequence[Hashable],
    order: Sequence[Hashable],
) -> Tensor:
    """Pick negative labels as the public code does: kind after kind, each by a cosine that is really one of its own.

    A candidate's nearness is the cosine at place ``int(percentile · C)`` of its sorted cosines, and not interpolated.
    Each kind but the last of ``order`` gets its share of ``count`` rounded down; the last one gets the rest.

    Args:
        candidate_features: as for `mine_negative_labels`.
        class_features: as for `mine_negative_labels`.
        count: as for `mine_negative_labels`.
        percentile: in [0, 1].
        kinds: K values.
        order: the kinds in the order in which they are picked (``adjective``, ``noun``).

    Returns:
        ``(M,)`` int64 on the CPU: rows of ``candidate_features``, kind after kind, least near first, ties by row.

    Raises:
        ValueError: ``count`` is below 1, or there are not K kinds.
    """
    total, classes = candidate_features.shape[0], class_features.shape[0]
    if count < 1 or len(kinds) != total:
        raise ValueError(f"count must be at least 1, not {count}; and {len(kinds)} kinds for {total} candidates")
    place = min(int(percentile * classes), classes - 1)
    texts = class_features.float().T
    chunks = torch.split(candidate_features, max(1, _CHUNK_ELEMENTS // classes))
    near = torch.cat([(chunk.float() @ texts).kthvalue(place + 1, dim=1).values for chunk in chunks]).cpu()
    picked: list[Tensor] = []
    left = count
    for kind in order:
        rows = torch.tensor([row for row, each in enumerate(kinds) if each == kind], dtype=torch.int64)
        share = left if kind == order[-1] else int(count * len(rows) / total)
        picked.append(rows[torch.argsort(near[rows], stable=True)][:share])
        left -= share
    return torch.cat(picked)


def nearness(candidate_features: Tensor, class_features: Tensor, percentile: float = 0.95) -> Tensor:
    """Quantile (linear between neighbours) of each candidate's cosines to all ID classes.

    Works through the candidates in pieces of bounded memory (about 4 million cosines).

    Args:
        candidate_features: ``(K, D)``, L2-normalised.
        class_features: ``(C, D)``, L2-normalised, C at least 1.
        percentile: in [0, 1]; 1 is the maximum.

    Returns:
        ``(K,)`` float32 cosine, higher is nearer.

    Raises:
        ValueError: shapes or ``percentile`` do not fit.
    """
    if candidate_features.ndim != 2 or class_features.ndim != 2:
        raise ValueError("features must be matrices (K, D) and (C, D)")
    if candidate_features.shape[1] != class_features.shape[1]:
        raise ValueError(f"features of width {candidate_features.shape[1]} and {class_features.shape[1]}")
    classes = class_features.shape[0]
    if classes == 0:
        raise ValueError("at least one ID class is needed")
    if not 0.0 <= percentile <= 1.0:
        raise ValueError(f"percentile must be in [0, 1], not {percentile}")
    rows = max(1, _CHUNK_ELEMENTS // classes)
    texts = class_features.float().T
    parts = [_row_quantile(chunk.float() @ texts, percentile) for chunk in torch.split(candidate_features, rows)]
    return torch.cat(parts)


def _row_quantile(values: Tensor, quantile: float) -> Tensor:
    """Like `torch.quantile` along dim 1, without its size limit and without sorting more than is needed."""
    width = values.shape[1]
    position = quantile * (width - 1)
    low = min(math.floor(position), width - 1)
    high = min(low + 1, width - 1)
    if low >= width // 2:
        ranked, first, second = values.topk(width - low, dim=1).values, width - 1 - low, width - 1 - high
    else:
        ranked, first, second = values.topk(high + 1, dim=1, largest=False).values, low, high
    return torch.lerp(ranked[:, first], ranked[:, second], position - low)


def _shares(sizes: Counter[Hashable], count: int) -> dict[Hashable, int]:
    """Share ``count`` out in proportion to ``sizes``; what rounding leaves goes to the largest remainders."""
    total = sizes.total()
    shares = {kind: count * size // total for kind, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda kind: -(count * sizes[kind] % total))
    for kind in by_remainder[: count - sum(shares.values())]:
        shares[kind] += 1
    return shares
