"""Averaging the ID score over groups of the negatives (stage 1; NegLabel, ICLR 2024, section 3.3)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ants_engine.method.masses import IdMass, group_sums
from ants_engine.method.scoring import check_logits, working


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
