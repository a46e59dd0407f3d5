"""Drawing the pictures of a stream, and their order.

Pictures are ordered by the sha256 of seed, set and position: the same on every machine and with every library version.
The ID pictures' order among themselves depends on the seed only, and a lower prevalence draws a subset of what a higher
one draws.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ants_engine.datasets.benchmark import BenchmarkSet
from ants_engine.errors import UsageError
from ants_engine.method.rounding import share_of


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """The N pictures of one stream, in order."""

    is_ood: NDArray[np.bool_]
    """(N,)"""
    rows: NDArray[np.int64]
    """(N,): the picture's row in the ID set or in the OOD set."""

    @property
    def ids(self) -> int:
        """Return the number of ID pictures."""
        return int((~self.is_ood).sum())

    @property
    def oods(self) -> int:
        """Return the number of OOD pictures."""
        return int(self.is_ood.sum())

    @property
    def prevalence(self) -> float:
        """Return the actual share of OOD pictures, after rounding."""
        return self.oods / len(self.rows)


def draw(
    id_set: BenchmarkSet, ood_set: BenchmarkSet, seed: int, prevalence: float | None = None, share: float = 1.0
) -> Draw:
    """Draw a stream.

    With a prevalence p and n ID pictures, round(n·p / (1 - p)) OOD pictures are drawn. If the set has fewer, all m of
    them are taken, and round(m·(1 - p) / p) ID pictures are drawn instead.

    Args:
        id_set: the ID pictures.
        ood_set: the OOD pictures.
        seed: determines the order, and what a prevalence draws.
        prevalence: share of OOD pictures, in (0, 1); ``None`` takes all.
        share: both sets are first reduced to this share, independently of the seed, rounded up.

    Raises:
        UsageError: a prevalence leaves no picture on one side.
    """
    ids, oods = sizes(id_set, ood_set, prevalence, share)
    id_rows = _first(id_set.name, len(id_set), "share", share_of(share, len(id_set)))
    ood_rows = _first(ood_set.name, len(ood_set), "share", share_of(share, len(ood_set)))
    id_rows = _first(id_set.name, id_rows, f"{seed} draw", ids)
    ood_rows = _first(ood_set.name, ood_rows, f"{seed} draw", oods)
    marked = [(_digest(id_set.name, row, f"{seed} order"), False, row) for row in id_rows]
    marked += [(_digest(ood_set.name, row, f"{seed} order"), True, row) for row in ood_rows]
    marked.sort()
    return Draw(
        is_ood=np.array([is_ood for _, is_ood, _ in marked], dtype=np.bool_),
        rows=np.array([row for _, _, row in marked], dtype=np.int64),
    )


def sizes(id_set: BenchmarkSet, ood_set: BenchmarkSet, prevalence: float | None, share: float) -> tuple[int, int]:
    """Return how many ID and OOD pictures `draw` will take.

    Raises:
        UsageError: a prevalence leaves no picture on one side.
    """
    ids, oods = share_of(share, len(id_set)), share_of(share, len(ood_set))
    if prevalence is None:
        return ids, oods
    kept = counts(ids, oods, prevalence)
    if not all(kept):
        raise UsageError(
            f"prevalence {prevalence} leaves {kept[0]} of {ids} ID and {kept[1]} of {oods} OOD pictures "
            f"({ood_set.name}); choose another one, or a larger share"
        )
    return kept


def counts(ids: int, oods: int, prevalence: float) -> tuple[int, int]:
    """Return how many of so many ID and OOD pictures make a stream of this prevalence; see `draw`."""
    wanted = round(ids * prevalence / (1.0 - prevalence))
    if wanted <= oods:
        return ids, wanted
    return min(ids, round(oods * (1.0 - prevalence) / prevalence)), oods


def _first(name: str, rows: list[int] | int, salt: str, count: int) -> list[int]:
    """Return the ``count`` rows with the lowest digests, in their order."""
    given = list(range(rows)) if isinstance(rows, int) else rows
    if count == len(given):
        return given
    return sorted(sorted(given, key=lambda row: _digest(name, row, salt))[:count])


def _digest(name: str, row: int, salt: str) -> bytes:
    return hashlib.sha256(f"{salt}\n{name}\n{row}".encode("utf-8", "surrogateescape")).digest()
