"""A demo folder: settings, ID classes, and pictures in OpenOOD's list format.

::

    ants.toml
    pictures/benchmark_imglist/<name>/classes.txt       one ID class a line, in the order of the labels
    pictures/benchmark_imglist/<name>/test_<set>.txt    <name> again for the ID pictures, any other set is OOD
    pictures/…                                          what the lists name
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ants_engine.datasets.benchmark import ID_SET
from ants_engine.datasets.openood import ListedImage, find_list_folder, read_image_list
from ants_engine.errors import UsageError

__all__ = ["ID_SET", "MixedStream", "World", "mixed_stream", "read_world"]


@dataclass(frozen=True, slots=True)
class World:
    """The content of a demo folder."""

    folder: Path
    classes: tuple[str, ...]
    sets: dict[str, tuple[ListedImage, ...]]
    """``id`` first, then the OOD sets by name."""

    @property
    def settings_file(self) -> Path:
        """Return the path of ``ants.toml``."""
        return self.folder / "ants.toml"


@dataclass(frozen=True, slots=True)
class MixedStream:
    """Pictures of all sets in one seeded order."""

    images: tuple[ListedImage, ...]
    sets: tuple[str, ...]
    """The set of each picture."""


def read_world(folder: Path) -> World:
    """Read a world folder.

    Raises:
        UsageError: a file is missing or malformed.
    """
    pictures = folder / "pictures"
    lists = find_list_folder(pictures) if (folder / "ants.toml").is_file() else None
    if lists is None or lists.classes_file is None:
        raise UsageError(
            f"{folder}: a world folder holds ants.toml and pictures/benchmark_imglist/<name>/ with classes.txt and "
            "test_<set>.txt; the embedded one is examples/emoji_world in the repository (it is not part of the wheel)"
        )
    if not lists.ood_lists:
        raise UsageError(f"{lists.folder}: at least one other list is needed beside {lists.id_list.name}")
    found = {ID_SET: lists.id_list, **lists.ood_lists}
    sets = {name: tuple(read_image_list(path, pictures)) for name, path in found.items()}
    return World(folder, lists.classes(), sets)


def mixed_stream(world: World, seed: int, share: float = 1.0, ood: Sequence[str] | None = None) -> MixedStream:
    """Draw the same share of the ID pictures and of OOD sets, and shuffle them together.

    Args:
        world: where the pictures are.
        seed: draws the same pictures of a set, whichever sets are mixed.
        share: in (0, 1].
        ood: the OOD sets that are mixed in; all by default.
    """
    drawn: list[tuple[ListedImage, str]] = []
    for name, images in world.sets.items():
        rng = random.Random(f"{seed} {name}")  # noqa: S311 - a reproducible order, not a secret
        if name == ID_SET or ood is None or name in ood:
            drawn += [(image, name) for image in rng.sample(images, round(share * len(images)))]
    random.Random(seed).shuffle(drawn)  # noqa: S311
    return MixedStream(tuple(image for image, _ in drawn), tuple(name for _, name in drawn))
