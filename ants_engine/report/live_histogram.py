"""Counts of scores by bin, added up as they come."""

import numpy as np
from numpy.typing import NDArray

BINS = 40


class Histogram:
    """Scores in [0, 1]; those outside count in the outermost bins, those that are not numbers nowhere."""

    def __init__(self, bins: int = BINS) -> None:
        """Begin with empty bins of equal width."""
        self._counts: NDArray[np.int64] = np.zeros(bins, dtype=np.int64)
        self.below = 0
        """How many of them were below the line when they came."""

    def add(self, scores: NDArray[np.floating], line: float) -> None:
        """Add scores (n,), judged by the line that holds now."""
        found = scores[~np.isnan(scores)]
        bins = len(self._counts)
        places = np.clip((found * bins).astype(np.int64), 0, bins - 1)
        self._counts += np.bincount(places, minlength=bins)
        self.below += int((found < line).sum())

    @property
    def total(self) -> int:
        """How many scores there are."""
        return int(self._counts.sum())

    def counts(self) -> list[int]:
        """Return the counts, lowest scores first."""
        return [int(count) for count in self._counts]
