"""The texts that all baselines share, their interface, and the base class of those without a memory."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ants_engine.common.features import check_features
from ants_engine.common.row_blocks import Columns
from ants_engine.detector.detector import ROWS_AT_ONCE, SCORING, Detector
from ants_engine.method.grouping import Groups
from ants_engine.method.masses import products


@dataclass(frozen=True, slots=True, eq=False)
class TextSpace:
    """The texts that all methods are compared on: ID classes, lexicon negatives and, optionally, outlier labels.

    Immutable; ``dataclasses.replace(space, temperature=1.0)`` gives one with another temperature.
    """

    class_names: tuple[str, ...]
    """(C,), C at least 1."""
    class_features: Tensor
    """(C, D) float32, L2-normalised."""
    negatives: Tensor
    """(M, D) float32, L2-normalised, in the order that ``groups`` refers to; M may be 0."""
    groups: Groups
    """The groups of negatives."""
    temperature: float
    """Softmax temperature tau; a logit is a cosine divided by it."""
    outlier_features: Tensor | None = None
    """(L, D) float32, L2-normalised: an LLM's outlier labels (EOE), L may be 0; None if none were requested."""

    @classmethod
    def of(cls, detector: Detector, outliers: Tensor | None = None) -> "TextSpace":
        """Take the texts of a detector.

        Args:
            detector: its ID classes, its initial negatives with their groups, and its temperature.
            outliers: (L, D) features of outlier labels, by the same CLIP model; normalised here.

        Raises:
            FeatureError: ``outliers`` do not fit the detector's features.
        """
        dim = int(detector.class_features.shape[1])
        return cls(
            class_names=detector.classes.names,
            class_features=detector.class_features,
            negatives=detector.initial.features,
            groups=detector.initial_groups(),
            temperature=detector.temperature,
            outlier_features=None if outliers is None else check_features(outliers, dim),
        )

    def check(self, features: Tensor) -> Tensor:
        """Return image features (N, D) as L2-normalised float32 on the CPU.

        Raises:
            FeatureError: wrong shape or dtype, NaN or infinite values, or an all-zero row.
        """
        return check_features(features, int(self.class_features.shape[1]))

    def id_logits(self, features: Tensor) -> Tensor:
        """Return (N, C): cosines of checked features to the ID classes divided by the temperature."""
        return products(features, self.class_features) / self.temperature

    def negative_logits(self, features: Tensor) -> Tensor:
        """Return (N, M): cosines of checked features to the negatives divided by the temperature."""
        return products(features, self.negatives) / self.temperature


class Baseline(Protocol):
    """A method that scores pictures by their CLIP features."""

    name: str
    """Its name in the registry."""

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
    """A baseline without a memory: a picture's score depends neither on other pictures nor on the batches."""

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
        # all pictures at once against 10,000 negatives could need gigabytes
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
