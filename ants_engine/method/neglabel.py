"""Initial negative labels out of a lexicon, and the score averaged over groups of them (stage 1; NegLabel, ICLR 2024).

Algorithm 1 chooses the labels; section 3.3 averages the score over groups.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ants_engine.method.masses import IdMass, group_sums
from ants_engine.method.scoring import check_logits, working

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


@dataclass(frozen=True, slots=True)
class Groups:
    """How a bank of negatives is cut: consecutive runs of ``sizes`` along ``order``."""

    order: Tensor | None
    """``(K,)`` int64 on the CPU, rows of the bank in the order in which they are cut; ``None`` keeps the bank's own."""
    sizes: tuple[int, ...]
    """Each group's length, longer ones first, differing by at most one; their sum K is what is used of the bank."""

    @property
    def total(self) -> int:
        """K, the number of negatives used."""
        return sum(self.sizes)

    def ordered(self) -> "Groups":
        """Return the same cut for a bank already put in order (``bank[groups.order]``): that saves a copy per call."""
        return replace(self, order=None)

    def whole_order(self, count: int) -> Tensor:
        """Return ``order`` with the rows of a bank of ``count`` that are in no group after it: (count,) int64."""
        order = torch.arange(self.total) if self.order is None else self.order
        left_out = torch.ones(count, dtype=torch.bool)
        left_out[order] = False
        return torch.cat([order, torch.nonzero(left_out).flatten()])

    def counts(self, count: int) -> Tensor:
        """Return how often each text is in each group, the bank being ``count`` texts over and over: (count, G)."""
        order = torch.arange(self.total) if self.order is None else self.order
        group = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes, dtype=torch.int64))
        found = torch.zeros(count, len(self.sizes))
        return found.index_put_((order % count, group), torch.ones(()), accumulate=True)


def equal_groups(count: int, groups: int, seed: int) -> Groups:
    """Cut ``count`` negatives, in seeded random order, into ``groups`` groups (the paper's form).

    Nothing is dropped: where ``count`` is no multiple, the first groups are longer by one. With fewer negatives than
    groups each negative is a group of its own.

    Args:
        count: M, negatives in the bank; 0 gives no groups.
        groups: G, at least 1.
        seed: seeds a CPU generator, so the order is the same on every device.

    Raises:
        ValueError: ``count`` below 0 or ``groups`` below 1.
    """
    sizes = equal_sizes(count, groups)
    return Groups(order=_permutation(count, seed) if sizes else None, sizes=sizes)


def reference_groups(count: int, group_length: int, *, permute: bool, seed: int = 0) -> Groups:
    """Cut ``count`` negatives as the public code does.

    ``group_length`` is nominal: there are ``max(1, count // group_length)`` groups, all of the length
    ``count // groups``; the last ``count % groups`` negatives of the bank are dropped *before* the rest is permuted.

    Args:
        count: M, at least 1.
        group_length: at least 1.
        permute: put what is left in random order.
        seed: seeds a CPU generator; the public code's is 0.

    Raises:
        ValueError: ``count`` or ``group_length`` below 1.
    """
    if count < 1 or group_length < 1:
        raise ValueError(f"count and group_length must be at least 1, not {count} and {group_length}")
    groups = max(1, count // group_length)
    length = count // groups
    kept = groups * length
    order = _permutation(kept, seed) if permute else torch.arange(kept)
    return Groups(order=order, sizes=(length,) * groups)


def public_groups(count: int, length: int, *, permute: bool, seed: int) -> Groups:
    """Cut as `reference_groups`, where there are more negatives than ``length``; else one group in the bank's order.

    Args:
        count: M, at least 0.
        length: at least 1.
        permute: put what is left in random order.
        seed: of that order.
    """
    if count <= length:
        return Groups(order=None, sizes=(count,) if count else ())
    return reference_groups(count, length, permute=permute, seed=seed)


def grouped_score(id_logits: Tensor, negative_logits: Tensor, groups: Groups) -> Tensor:
    """Mean over the groups of the ID score against each group alone.

    The ID classes' part is computed once, each group adds the sum over its own columns.

    Args:
        id_logits: ``(N, C)``, C at least 1.
        negative_logits: ``(N, M)``, columns in the bank's order; already permuted for `Groups.ordered`.
        groups: made for this M. No groups: every score is 1.

    Returns:
        ``(N,)`` in [0, 1], higher is more ID; float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that do not fit together or to ``groups``.
    """
    check_logits(id_logits, negative_logits)
    columns = negative_logits.shape[1]
    if groups.total > columns or (groups.order is None and groups.total != columns):
        raise ValueError(f"groups of {groups.total} negatives do not fit {columns} columns of logits")
    id_mass = IdMass.of(working(id_logits))
    negatives = working(negative_logits)
    if groups.order is not None:
        negatives = negatives[:, groups.order.to(negatives.device)]
    return id_mass.score(_masses(torch.sub(negatives, id_mass.top).exp_(), groups.sizes))


def equal_sizes(count: int, groups: int) -> tuple[int, ...]:
    """Return the lengths of the groups of `equal_groups`, for a bank that is in their order already.

    Args:
        count: M, at least 0.
        groups: G, at least 1.

    Raises:
        ValueError: ``count`` below 0 or ``groups`` below 1.
    """
    if count < 0 or groups < 1:
        raise ValueError(f"count must be at least 0 and groups at least 1, not {count} and {groups}")
    used = min(groups, count)
    short, longer = divmod(count, used) if used else (0, 0)
    return (short + 1,) * longer + (short,) * (used - longer)


def _masses(cells: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Sum ``(N, K)`` exponentials over the groups, the longer ones first."""
    longer = sum(size == sizes[0] for size in sizes)
    border = longer * sizes[0] if sizes else 0
    parts = [group_sums(cells[:, :border], longer)] if longer else []
    if longer < len(sizes):
        parts.append(group_sums(cells[:, border:], len(sizes) - longer))
    return torch.cat(parts, dim=1) if parts else cells[:, :0]


def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator(device="cpu").manual_seed(seed))
