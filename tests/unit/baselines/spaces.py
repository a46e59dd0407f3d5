"""Text spaces for tests: one whose numbers can be worked out by hand, and seeded random ones."""

import math

import torch

from ants_engine.baselines.baseline import TextSpace
from ants_engine.method.neglabel import Groups, equal_groups
from tests.unit.detector.detectors import unit_rows

# a cosine of 0.2 k is a logit of k ln 2, so that exp(logit) is 2 ** k
TAU = 0.2 / math.log(2)
PICTURE = torch.tensor([[0.6, 0.8]])


def hand_space(negatives: int = 4, outliers: int | None = 2) -> TextSpace:
    """Two classes and up to four negatives in the plane; the outlier labels are the first negatives.

    For `PICTURE`, exp(logit) is 8 and 16 for the classes, and 1, 8, 16, 1/8 for the negatives.
    """
    texts = torch.tensor([[-0.8, 0.6], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    halves = {0: (), 1: (1,), 4: (2, 2)}[negatives]
    return TextSpace(
        class_names=("east", "north"),
        class_features=torch.eye(2),
        negatives=texts[:negatives],
        groups=Groups(order=None, sizes=halves),
        temperature=TAU,
        outlier_features=None if outliers is None else texts[:outliers],
    )


def random_space(classes: int, negatives: int, *, groups: int = 1, tau: float = 0.05, outliers: int = 4) -> TextSpace:
    """A space of seeded random texts, 16 wide."""
    return TextSpace(
        class_names=tuple(f"class {number}" for number in range(classes)),
        class_features=unit_rows(classes, 1),
        negatives=unit_rows(negatives, 2) if negatives else torch.zeros(0, 16),
        groups=equal_groups(negatives, groups, seed=3),
        temperature=tau,
        outlier_features=unit_rows(outliers, 4) if outliers else torch.zeros(0, 16),
    )
