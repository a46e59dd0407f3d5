"""A benchmark: ID classes, one ID set, and OOD sets, as pictures or as their CLIP features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ants_engine.datasets.image_lists import OOD_LABEL
from ants_engine.datasets.ood_groups import Group
from ants_engine.errors import ImageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

ID_SET = "id"
"""What the ID set is called, whatever its list is."""
UNLABELLED = -2
"""The label of an ID picture whose class nobody says; it counts as ID and has no part in the accuracy."""

Kind: TypeAlias = Literal["lists", "folders", "features"]


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkSet:
    """n pictures of one set."""

    name: str
    """``id``, or the OOD set's name."""
    group: Group | None
    """``None`` for the ID set."""
    labels: NDArray[np.int64]
    """(n,): the ID class, `OOD_LABEL` or `UNLABELLED`."""
    images: tuple[Any, ...] | None = None
    """n pictures as `open_images` takes them; ``None`` where there are features only."""
    features: "Tensor | None" = None
    """(n, D) float32, L2-normalised; the rows of ``failures`` mean nothing. ``None`` until they are computed."""
    failures: Mapping[int, ImageError] = field(default_factory=dict)
    """Row → why this picture has no features."""
    origin: str = ""
    """The list, folder or file that it was read from."""
    sha256: str = ""
    """Of the list or file."""

    def __post_init__(self) -> None:
        """See that the parts belong together."""
        for what, part in (("images", self.images), ("features", self.features)):
            if part is not None and len(part) != len(self.labels):
                raise ValueError(f"{self.name}: {len(part)} {what} for {len(self.labels)} labels")

    def __len__(self) -> int:
        """Return n."""
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether every picture's ID class is known."""
        return bool((self.labels >= 0).all())

    def name_of(self, row: int) -> str:
        """Return what a person calls one picture."""
        if self.images is None:
            return f"{self.name} row {row}"
        image = self.images[row]
        # a picture in memory has no name; its repr may be a screenful
        return str(image) if isinstance(image, str) or hasattr(image, "__fspath__") else f"{self.name} #{row}"


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Text features that came with features of pictures, so that no CLIP is needed."""

    class_features: "Tensor"
    """(C, D) float32, L2-normalised."""
    negative_features: "Tensor | None" = None
    """(M, D): the initial negatives."""
    negative_texts: tuple[str, ...] | None = None
    """What they say."""
    logit_scale: float = 100.0
    """1 / temperature."""


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """What is measured on."""

    name: str
    kind: Kind
    classes: tuple[str, ...]
    """C names, in the order of the labels."""
    id_set: BenchmarkSet
    ood_sets: tuple[BenchmarkSet, ...]
    space: FeatureSpace | None = None
    """Only with features, and only where the file holds the classes' features."""
    clip: str = ""
    """Only with features: the sha256 identity of the CLIP that made them, where the file says it."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know."""
    settings_file: "Path | None" = None
    """An ``ants.toml`` that lies with the pictures."""

    def __post_init__(self) -> None:
        """Check labels and sets.

        Raises:
            UsageError: an ID label that no class has, an ID picture with the label of an OOD one, an empty set, no OOD
                set, or two of one name; names them.
        """
        if not self.ood_sets:
            raise UsageError(f"{self.name}: there is no OOD set; at least one is needed beside the ID set")
        names = [one.name for one in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"{self.name}: two sets are called {', '.join(twice)}; names must differ")
        empty = [one.origin or one.name for one in self.sets if not len(one)]
        if empty:
            raise UsageError(f"{', '.join(empty)}: no pictures; neither the ID set nor an OOD set may be empty")
        self._check_labels()

    @property
    def sets(self) -> tuple[BenchmarkSet, ...]:
        """The ID set, then the OOD sets."""
        return (self.id_set, *self.ood_sets)

    def _check_labels(self) -> None:
        labels = self.id_set.labels
        wrong = np.flatnonzero((labels >= len(self.classes)) | (labels < UNLABELLED) | (labels == OOD_LABEL))
        if len(wrong):
            first = int(wrong[0])
            raise UsageError(
                f"{self.id_set.origin or self.name}: {len(wrong)} ID pictures have a label that is none of the "
                f"{len(self.classes)} classes (0 to {len(self.classes) - 1}), first: label {labels[first]} of "
                f"{self.id_set.name_of(first)}. Is this the list of the ID pictures, with classes in the order of its "
                "labels?"
            )
        if not self.id_set.labelled and (labels >= 0).any():
            raise UsageError(f"{self.id_set.origin or self.name}: some ID pictures have a label and some have none")
        for one in self.ood_sets:
            if (one.labels != OOD_LABEL).any():
                raise ValueError(f"{one.name}: an OOD set with labels other than {OOD_LABEL}")
