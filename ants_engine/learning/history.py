"""The pictures seen so far: their features, their names, and where the MLLM can be shown them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.errors import ImageError
from ants_engine.learning.pictures import PictureBatch


@dataclass(slots=True)
class History:
    """Grows batch by batch. Features and references are kept, decoded pictures are not."""

    refs: list[ImageRef | None] = field(default_factory=list)
    """Per row: where the picture can be had again, or None where only features were given."""
    names: list[str] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    """Per row: the nearest ID class."""
    failures: list[ImageError] = field(default_factory=list)
    """Pictures that have no row."""
    _features: list[Tensor] = field(default_factory=list)
    _scores: list[Tensor] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    """Per part of ``_features``: its first row."""

    def add(self, batch: PictureBatch, predicted: Tensor, scores: Tensor) -> None:
        """Append a batch of n pictures with nearest classes (n,) and initial scores (n,)."""
        self._starts.append(len(self))
        self.refs.extend(batch.refs)
        self.names.extend(batch.names)
        self.failures.extend(batch.failures)
        self.predicted.extend(predicted.tolist())
        self._features.append(batch.features)
        self._scores.append(scores)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.names)

    def features(self) -> Tensor:
        """Return all features (N, D). They are put together here, so ask at the end; `rows` serves in between."""
        self._features = [torch.cat(self._features)]
        self._starts = [0]
        return self._features[0]

    def rows(self, rows: Sequence[int]) -> Tensor:
        """Return the features (n, D) of some rows."""
        found = []
        for row in rows:
            part = bisect_right(self._starts, row) - 1
            found.append(self._features[part][row - self._starts[part]])
        return torch.stack(found)

    def scores(self) -> Tensor:
        """Return all initial scores (N,)."""
        self._scores = [torch.cat(self._scores)]
        return self._scores[0]
