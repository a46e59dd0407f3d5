"""What every baseline offers, and the base of those that look at one picture at a time."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from ants_engine.baselines.text_space import TextSpace
from ants_engine.common.row_blocks import Columns
from ants_engine.detector.detector import ROWS_AT_ONCE, SCORING


class Baseline(Protocol):
    """A method that scores pictures by their CLIP features."""

    name: str
    """What the registry calls it."""

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Score one batch of a stream.

        Args:
            features: (N, D) CLIP image features, any float dtype; normalised here. N may be 0.

        Returns:
            The predicted ID class (N,) int64, and the ID score (N,) float32, higher = more ID.

        Raises:
            FeatureError: wrong shape or dtype, NaN or infinite values, or an all-zero row.
        """
        ...

    def reset(self) -> None:
        """Forget the stream so far."""
        ...


class FrozenBaseline(ABC):
    """A baseline without a memory: a picture's score does not depend on the others, nor on how they are batched."""

    name: str

    def __init__(self, space: TextSpace) -> None:
        """Score in this text space."""
        self._space = space

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Score pictures; see `Baseline.score`."""
        checked = self._space.check(features)

        def work(columns: Columns) -> Columns:
            id_logits = self._space.id_logits(columns[0])
            return [id_logits.argmax(dim=1), self.id_score(columns[0], id_logits)]

        outliers = self._space.outlier_features
        texts = (self._space.class_features, self._space.negatives, *([] if outliers is None else [outliers]))
        key = (type(self), *(len(part) for part in texts), self._space.groups.sizes)
        # many pictures at once against 10,000 negatives would need gigabytes
        parts = [SCORING.run(work, [rows], key) for rows in torch.split(checked, ROWS_AT_ONCE)]
        predicted, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        return predicted, scores

    def reset(self) -> None:  # noqa: B027 - no method without a memory has anything to forget
        """Do nothing: there is nothing to forget."""

    @abstractmethod
    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the ID score (N,) float32, higher = more ID.

        Args:
            features: (N, D) float32, L2-normalised.
            id_logits: (N, C) their cosines to the ID classes divided by the temperature.
        """
