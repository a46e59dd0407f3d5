"""Pictures of an OOD set that stand among the ID pictures too."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one OOD set shares with the ID set."""

    ood_set: str
    same_path: tuple[str, ...]
    """Listed as both."""
    same_content: tuple[str, ...]
    """Another file with the very bytes of an ID picture."""

    def __str__(self) -> str:
        """Say it in one line."""
        shared = [*self.same_path, *self.same_content]
        shown = ", ".join(shared[:SHOWN]) + (", …" if len(shared) > SHOWN else "")
        return (
            f"{len(shared)} pictures of {self.ood_set} stand in the ID set too ({len(self.same_path)} by path, "
            f"{len(self.same_content)} by content): {shown}. They count as both, so that no method can be right"
        )


def find_overlaps(benchmark: Benchmark) -> list[Overlap]:
    """Compare every OOD set with the ID set, by path and by the sha256 of the files.

    Only files of equal size are read. A file that cannot be read is equal to none. Pictures in memory, and features,
    are not compared.
    """
    ids = _files(benchmark.id_set)
    places = {path.absolute() for path in ids}
    by_size: dict[int, list[Path]] = {}
    for path in sorted(places):
        by_size.setdefault(_size(path), []).append(path)
    digests: dict[int, set[str]] = {}
    overlaps = []
    for one in benchmark.ood_sets:
        same_path, same_content = [], []
        for path in dict.fromkeys(_files(one)):
            size = _size(path)
            if path.absolute() in places:
                same_path.append(str(path))
            elif size >= 0 and size in by_size:
                if size not in digests:
                    digests[size] = {_digest(other) for other in by_size[size]} - {""}
                if _digest(path) in digests[size]:
                    same_content.append(str(path))
        if same_path or same_content:
            overlaps.append(Overlap(one.name, tuple(same_path), tuple(same_content)))
    return overlaps


def _files(one: BenchmarkSet) -> list[Path]:
    images: Sequence[Any] = one.images or ()
    return [Path(image) for image in images if isinstance(image, str | Path)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
