"""Partial sums that every softmax score is made of: each logit's exponential is taken once.

With *mass* = sum exp(logit - top), top being the picture's highest ID logit, a score against a bank, a group of it or
several banks is ``id_mass / (id_mass + bank_mass)``. The shift needs no look at the negatives and is safe for any
logits: the ID mass is from 1 to C, a negative that underflows weighs less than float32 can tell from nothing, and one
that overflows makes the score 0, as it is to float32's last bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

COLUMNS = 4096
"""Texts of a bank that are compared at once: with 128 pictures 2 MB of float32, which a core's cache holds. How many
pictures there are does not matter to it, so that a picture's sums are cut in the same places in any company."""


FEWEST = 16
"""Texts of a product: with fewer, a row's last bits may depend on its place among the rows."""


def products(features: Tensor, texts: Tensor) -> Tensor:
    """Return the products ``(N, M)`` of ``(N, D)`` features and ``(M, D)`` texts."""
    missing = FEWEST - len(texts)
    if missing <= 0:
        return features @ texts.T
    return (features @ torch.nn.functional.pad(texts, (0, 0, 0, missing)).T)[:, : len(texts)].contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class IdMass:
    """The ID classes' part of every score of N pictures."""

    top: Tensor
    """``(N, 1)``: each picture's highest ID logit."""
    mass: Tensor
    """``(N, 1)``, from 1 to C: sum over the ID classes of exp(logit - top)."""

    @classmethod
    def of(cls, id_logits: Tensor) -> "IdMass":
        """Sum up ``(N, C)`` ID logits, C at least 1."""
        top = id_logits.amax(dim=1, keepdim=True)
        return cls(top, torch.sub(id_logits, top).exp_().sum(dim=1, keepdim=True))

    def score(self, masses: Tensor) -> Tensor:
        """Return the mean ID score ``(N,)`` against ``(N, G)`` masses, each by itself; 1 where there is none.

        Higher is more ID, in [0, 1].
        """
        if not masses.shape[1]:
            return torch.ones_like(self.mass[:, 0])
        return (self.mass / (self.mass + masses)).mean(dim=1).clamp(max=1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A bank of negatives in the order in which it is cut into groups, and how it is cut a second time."""

    features: Tensor
    """``(M, D)`` L2-normalised text features."""
    sizes: tuple[int, ...]
    """The groups' lengths, equal ones side by side; what lies after the last group is in none."""
    counts: Tensor | None = None
    """``(M, H)``: how often each text is in each group of the second cut, which need not fit the order."""

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ValueError: the groups are longer than the bank.
        """
        if sum(self.sizes) > len(self.features):
            raise ValueError(f"groups of {sum(self.sizes)} negatives do not fit a bank of {len(self.features)}")


def bank_masses(scaled: Tensor, cut: Cut, top: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mass of each group of a bank, without ever holding the bank's logits.

    Args:
        scaled: ``(N, D)`` L2-normalised image features divided by the temperature.
        cut: the bank.
        top: ``(N, 1)``, see `IdMass`.

    Returns:
        ``(N, G)`` of the groups, and ``(N, H)`` of those of the second cut, from the same exponentials. Memory is
        bounded by these and N * `COLUMNS`, whatever M.
    """
    rows, bank = len(scaled), cut.features
    scratch = scaled.new_empty(rows * min(COLUMNS, len(bank)))
    masses = scaled.new_zeros(rows, len(cut.sizes))
    groups = 0 if cut.counts is None else cut.counts.shape[1]
    counts = None
    if cut.counts is not None:
        counts = torch.nn.functional.pad(cut.counts, (0, max(0, FEWEST - groups)))
    second = scaled.new_zeros(rows, 0 if counts is None else counts.shape[1])
    for piece in _pieces(cut.sizes, len(bank) if cut.counts is not None else sum(cut.sizes), COLUMNS):
        width = piece.end - piece.start
        cells = scratch[: rows * width].view(rows, width)
        if width < FEWEST:
            cells.copy_(products(scaled, bank[piece.start : piece.end]))
        else:
            torch.matmul(scaled, bank[piece.start : piece.end].T, out=cells)
        cells.sub_(top).exp_()
        if piece.last > piece.first:
            # added, not set: of a group longer than the scratch this is one part
            masses[:, piece.first : piece.last] += group_sums(cells, piece.last - piece.first)
        if counts is not None:
            second.addmm_(cells, counts[piece.start : piece.end])
    return masses, second[:, :groups]


def cut_scores(scaled: Tensor, cut: Cut, id_mass: IdMass) -> tuple[Tensor, Tensor]:
    """Return the scores ``(N,)`` against a bank in its groups, and in those of its second cut; see `bank_masses`."""
    masses, second = bank_masses(scaled, cut, id_mass.top)
    return id_mass.score(masses), id_mass.score(second)


def group_sums(cells: Tensor, groups: int) -> Tensor:
    """Sum ``(N, G * L)`` over G runs of equal length L into ``(N, G)``."""
    return cells.reshape(len(cells), groups, cells.shape[1] // groups).sum(dim=2)


class _Piece(NamedTuple):
    """Columns from ``start`` to ``end``, that is the groups from ``first`` to ``last``, a part of one, or none."""

    start: int
    end: int
    first: int
    last: int


def _pieces(sizes: Sequence[int], total: int, columns: int) -> Iterator[_Piece]:
    """Cut columns into pieces of at most ``columns``: whole groups of one length, a part of one, or the rest."""
    start = first = 0
    for size, equal in groupby(sizes):
        count = sum(1 for _ in equal)
        last = first + count
        if size <= columns:
            at_once = columns // size
            for group in range(first, last, at_once):
                until = min(group + at_once, last)
                yield _Piece(start + (group - first) * size, start + (until - first) * size, group, until)
        else:
            for group in range(first, last):
                begin = start + (group - first) * size
                for part in range(begin, begin + size, columns):
                    yield _Piece(part, min(part + columns, begin + size), group, group + 1)
        start, first = start + size * count, last
    for part in range(start, total, columns):
        yield _Piece(part, min(part + columns, total), first, first)
