"""A benchmark: ID classes, one ID set, and OOD sets in near and far groups, as pictures or as CLIP features.

Source of the groups: OpenOOD v1.5, arXiv 2306.09301, and the four sets that the CLIP literature uses with ImageNet.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ants_engine.clip.decode import file_sha256
from ants_engine.errors import ImageError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Kind: TypeAlias = Literal["lists", "folders", "features"]
Group: TypeAlias = Literal["near", "far", "other"]
"""``other``: unknown, so that the set is part of no mean."""

NEAR = frozenset({"ssb_hard", "ninco", "cifar10", "cifar100", "tin", "species", "imagenet_21k"})
FAR = frozenset({
    "inaturalist", "textures", "texture", "dtd", "openimage_o", "sun", "places", "places365", "mnist", "svhn", "lsun",
    "isun",
})  # fmt: skip
SHIFTED = frozenset({
    "imagenet_v2", "imagenetv2", "imagenet_c", "imagenetc", "imagenet_r", "imagenetr", "imagenet_es", "imagenetes",
    "cifar10c", "cifar100c", "cinic10",
})  # fmt: skip
"""Covariate-shifted ID sets: lists beside the OOD ones that are not OOD (full-spectrum OOD detection)."""


def group_of(name: str) -> Group:
    """Return an OOD set's group by its name, ignoring case; ``-`` and ``_`` are equal."""
    plain = plain_name(name)
    if plain in NEAR or re.match("near(?![a-z])", plain):
        return "near"
    if plain in FAR or re.match("far(?![a-z])", plain):
        return "far"
    return "other"


def plain_name(name: str) -> str:
    """Normalise a name for the lists above."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


ID_SET = "id"
"""The name of the ID set."""
OOD_LABEL = -1
"""The label of a picture of no ID class."""
UNLABELLED = -2
"""The label of an ID picture of unknown class; it counts as ID, but not in the accuracy."""


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
    """n pictures as `open_images` takes them; None where there are features only."""
    features: "Tensor | None" = None
    """(n, D) float32, L2-normalised; rows of ``failures`` are undefined. None until they are computed."""
    failures: Mapping[int, ImageError] = field(default_factory=dict)
    """Row → the error of a picture without features."""
    origin: str = ""
    """The list, folder or file it was read from."""
    sha256: str = ""
    """Digest of the list or file."""

    def __post_init__(self) -> None:
        """Check the lengths."""
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
        """Return a picture's display name."""
        if self.images is None:
            return f"{self.name} row {row}"
        image = self.images[row]
        # a picture in memory has no name, and its repr may be long
        return str(image) if isinstance(image, str) or hasattr(image, "__fspath__") else f"{self.name} #{row}"


def chosen_sets(sets: Sequence[BenchmarkSet], chosen: Collection[str] | None, source: Path) -> list[BenchmarkSet]:
    """Return the OOD sets of the chosen names; all for None.

    Raises:
        UsageError: there is no set of that name.
    """
    there = [one.name for one in sets]
    missing = sorted(set(chosen or ()) - set(there))
    if missing:
        raise UsageError(f"{source}: no OOD set {', '.join(missing)}; there are: {', '.join(there) or 'none'}")
    return [one for one in sets if chosen is None or one.name in chosen]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Text features that come with picture features, so that no CLIP model is needed."""

    class_features: "Tensor"
    """(C, D) float32, L2-normalised."""
    negative_features: "Tensor | None" = None
    """(M, D): the initial negatives."""
    negative_texts: tuple[str, ...] | None = None
    """Their texts."""
    logit_scale: float = 100.0
    """1 / temperature."""


@dataclass(frozen=True, slots=True, eq=False)
class Benchmark:
    """The data of an evaluation."""

    name: str
    kind: Kind
    classes: tuple[str, ...]
    """C names, in the order of the labels."""
    id_set: BenchmarkSet
    ood_sets: tuple[BenchmarkSet, ...]
    space: FeatureSpace | None = None
    """Only with features that include the classes'."""
    clip: str = ""
    """Only with features: the sha256 identity of their CLIP model, where the file has it."""
    notes: tuple[str, ...] = ()
    """Notes for readers of the numbers."""
    settings_file: "Path | None" = None
    """The ``ants.toml`` beside the pictures."""

    def __post_init__(self) -> None:
        """Check labels and sets.

        Raises:
            UsageError: an ID label outside the classes, an empty set, no OOD set, or two of one name.
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


# ---- pictures in both sets -------------------------------------------------------------------------------------------


SHOWN = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """The pictures that an OOD set shares with the ID set."""

    ood_set: str
    same_path: tuple[str, ...]
    """Listed in both."""
    same_content: tuple[str, ...]
    """Another file with the content of an ID picture."""

    def __str__(self) -> str:
        """Describe it in one line."""
        shared = [*self.same_path, *self.same_content]
        shown = ", ".join(shared[:SHOWN]) + (", …" if len(shared) > SHOWN else "")
        return (
            f"{len(shared)} pictures of {self.ood_set} stand in the ID set too ({len(self.same_path)} by path, "
            f"{len(self.same_content)} by content): {shown}. They count as both, so that no method can be right"
        )


def find_overlaps(benchmark: Benchmark) -> list[Overlap]:
    """Compare every OOD set with the ID set, by path and by the sha256 of the files.

    Only files of equal size are read. Unreadable files, pictures in memory and features are not compared.
    """
    ids = _files(benchmark.id_set)
    places = {path.absolute() for path in ids}
    by_size: dict[int, list[Path]] = {}
    for path in sorted(places):
        by_size.setdefault(_size(path), []).append(path)
    digests: dict[int, set[str | None]] = {}
    overlaps = []
    for one in benchmark.ood_sets:
        same_path, same_content = [], []
        for path in dict.fromkeys(_files(one)):
            size = _size(path)
            if path.absolute() in places:
                same_path.append(str(path))
            elif size >= 0 and size in by_size:
                if size not in digests:
                    digests[size] = {file_sha256(other) for other in by_size[size]} - {None}
                if file_sha256(path) in digests[size]:
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
