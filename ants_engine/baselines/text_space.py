"""The texts that every method may use, with their features: all methods are compared on the same ones."""

from dataclasses import dataclass

from torch import Tensor

from ants_engine.common.features import check_features
from ants_engine.detector.detector import Detector
from ants_engine.method.grouping import Groups
from ants_engine.method.masses import products


@dataclass(frozen=True, slots=True, eq=False)
class TextSpace:
    """ID classes, lexicon negatives and, where an LLM was asked for them, outlier labels.

    It is never changed; ``dataclasses.replace(space, temperature=1.0)`` makes one to try another temperature.
    """

    class_names: tuple[str, ...]
    """(C,), C at least 1."""
    class_features: Tensor
    """(C, D) float32, L2-normalised."""
    negatives: Tensor
    """(M, D) float32, L2-normalised, in the order that ``groups`` counts in; M may be 0."""
    groups: Groups
    """How the negatives are cut."""
    temperature: float
    """Softmax temperature tau; a logit is a cosine divided by it."""
    outlier_features: Tensor | None = None
    """(L, D) float32, L2-normalised: an LLM's outlier labels (EOE), L may be 0; None where nobody asked for any."""

    @classmethod
    def of(cls, detector: Detector, outliers: Tensor | None = None) -> "TextSpace":
        """Take the texts of a detector.

        Args:
            detector: its ID classes, its initial negatives with their groups, and its temperature.
            outliers: (L, D) features of outlier labels, by the same CLIP; normalised here.

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
