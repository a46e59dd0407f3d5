"""The latest pictures of a run with their features, so that a report can show them without CLIP looking again."""

from collections import deque

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.learning.run_observer import FirstLook, RunObserver

BOUND = 5000
"""Pictures that are kept, 2 KB of features each for a CLIP of width 512."""


class SeenPictures(RunObserver):
    """Keeps names, places and features of the latest pictures that could be read."""

    def __init__(self, bound: int = BOUND) -> None:
        """Begin with none."""
        self._kept: deque[tuple[str, ImageRef | None, Tensor]] = deque(maxlen=bound)
        self.count = 0
        """How many there have been."""

    def looked(self, look: FirstLook) -> None:
        """See `RunObserver.looked`."""
        self.count += len(look.names)
        # a copy: a row alone would keep its whole batch
        self._kept.extend(zip(look.names, look.refs, (row.clone() for row in look.features), strict=True))

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    @property
    def features(self) -> Tensor:
        """(N, D), of those that are kept, at least one."""
        return torch.stack([feature for _, _, feature in self._kept])

    @property
    def paths(self) -> list[str] | None:
        """Their files as they were named; None where one of them is no file."""
        if any(ref is None or ref.key is None for _, ref, _ in self._kept):
            return None
        return [name for name, _, _ in self._kept]
