"""The pictures that a report is about: given now, kept by a detector, or noted during a run."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.sources import ImageStream, open_images
from ants_engine.common.features import check_features
from ants_engine.errors import FeatureError, ImageError, NoImagesError
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.learning.run_observer import FirstLook, RunObserver

Encode = Callable[[ImageStream], Awaitable[tuple[Tensor, list[str], dict[int, ImageError]]]]
"""Encodes pictures: features (N, D), names, and failures by row, as `ANTS.look_at` does."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """N pictures, at least one."""

    names: tuple[str, ...]
    features: Tensor
    """(N, D); the rows of ``failures`` mean nothing."""
    refs: tuple[ImageRef | None, ...]
    """Where each can be looked at; None where that is not known."""
    failures: dict[int, ImageError] = field(default_factory=dict)

    def readable(self) -> list[int]:
        """Return the rows that have features."""
        return [row for row in range(len(self.names)) if row not in self.failures]


async def look_at(dim: int, encode: Encode, pictures: Any, features: Any = None) -> Seen:
    """Encode pictures that were given; with features of them, CLIP sees none.

    Args:
        dim: D.
        encode: gives features of pictures that have none.
        pictures: as `ANTS.score` takes them; one-shot iterators cannot be looked at twice and have no thumbnails.
        features: (N, D) CLIP features of the same pictures.

    Raises:
        NoImagesError: there is no picture, or none that can be read.
        FeatureError: the features do not fit the CLIP, or the pictures.
    """
    stream = None if pictures is None else await asyncio.to_thread(open_images, pictures)
    listed: list[ImageRef] = []
    if stream is not None and not stream.one_shot:
        listed = [ref async for ref in stream]
    # what can be had only once (the web, an iterator) is not looked at again
    refs: list[ImageRef | None] = [ref if ref.rereadable else None for ref in listed]
    if features is None:
        if stream is None:
            raise NoImagesError("give pictures, or features with or without pictures")
        return await _encoded(encode, stream, refs)
    checked = check_features(features, dim)
    if not len(checked):
        raise NoImagesError("there are no pictures: the features have no row")
    if refs and len(refs) != len(checked):
        raise FeatureError(f"{len(refs)} pictures and {len(checked)} rows of features")
    places = refs or [None] * len(checked)
    names = tuple(ref.name for ref in listed) or tuple(f"#{row}" for row in range(len(checked)))
    return Seen(names, checked, tuple(places))


async def _encoded(encode: Encode, stream: ImageStream, refs: list[ImageRef | None]) -> Seen:
    # what was found once is what is encoded: a folder that grows meanwhile does no harm
    scored, names, failures = await encode(stream)
    if len(failures) == len(names):
        raise NoImagesError(f"none of the {len(names)} pictures can be read, first: {next(iter(failures.values()))}")
    places: list[ImageRef | None] = refs or [None] * len(names)
    return Seen(tuple(names), scored, tuple(places), failures)


def kept(saved: SavedDetector) -> Seen | None:
    """Return what a detector has kept of the pictures it has seen; None where that is nothing.

    That is the features of the latest ``stream.history`` pictures, and the names of those that looked unknown. Their
    files are not looked for: a folder from elsewhere must not choose which files of yours end up in a page.
    """
    features = saved.state.recent.tensor()
    if not len(features):
        return None
    state = saved.state
    # a position in the stream is one among the features only where every picture so far could be read
    first = state.looked - len(features) + 1
    items = state.candidates.items if state.looked == state.pictures else {}
    names = [f"picture {first + row}" for row in range(len(features))]
    for item in items.values():
        row = item.id - (first - 1)
        if 0 <= row < len(names):
            names[row] = item.name
    return Seen(tuple(names), torch.clone(features), (None,) * len(features))


BOUND = 5000
"""ReportPictures that are kept, 2 KB of features each for a CLIP of width 512."""


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
