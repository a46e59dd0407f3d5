"""The pictures of a report: given now, kept by a detector, or collected during a run."""

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
    """(N, D) float32, L2-normalised; the rows of ``failures`` mean nothing."""
    refs: tuple[ImageRef | None, ...]
    """Where each can be read again; None where that is not known."""
    failures: dict[int, ImageError] = field(default_factory=dict)

    def readable(self) -> list[int]:
        """Return the rows that have features."""
        return [row for row in range(len(self.names)) if row not in self.failures]


async def look_at(dim: int, encode: Encode, pictures: Any, features: Any = None) -> Seen:
    """Encode pictures; with features of them, CLIP is not used.

    Args:
        dim: D.
        encode: gives features of pictures that have none.
        pictures: as `ANTS.score` takes them; one-shot iterators cannot be read twice and have no thumbnails.
        features: (N, D) CLIP features of the same pictures.

    Raises:
        NoImagesError: there is no picture, or none that can be read.
        FeatureError: the features do not fit the CLIP, or the pictures.
    """
    stream = None if pictures is None else await asyncio.to_thread(open_images, pictures)
    listed: list[ImageRef] = []
    if stream is not None and not stream.one_shot:
        listed = [ref async for ref in stream]
    # sources that can be read only once (the web, an iterator) are not read again
    refs: list[ImageRef | None] = [ref if ref.rereadable else None for ref in listed]
    if features is None:
        if stream is None:
            raise NoImagesError("give pictures, or features with or without pictures")
        # the stream that was opened is what is encoded: a folder that grows meanwhile does no harm
        scored, found, failures = await encode(stream)
        if len(failures) == len(found):
            first = next(iter(failures.values()))
            raise NoImagesError(f"none of the {len(found)} pictures can be read, first: {first}")
        return Seen(tuple(found), scored, tuple(refs or [None] * len(found)), failures)
    checked = check_features(features, dim)
    if not len(checked):
        raise NoImagesError("there are no pictures: the features have no row")
    if refs and len(refs) != len(checked):
        raise FeatureError(f"{len(refs)} pictures and {len(checked)} rows of features")
    names = tuple(ref.name for ref in listed) or tuple(f"#{row}" for row in range(len(checked)))
    return Seen(names, checked, tuple(refs or [None] * len(checked)))


def kept(saved: SavedDetector) -> Seen | None:
    """Return what a detector has kept of the pictures it has seen; None if that is nothing.

    These are the features of the latest ``stream.history`` pictures, and the names of those that looked unknown. Their
    files are not opened: a detector from elsewhere must not choose which of your files end up in a page.
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
"""Pictures that are kept, 2 KB of features each for a CLIP of width 512."""


class SeenPictures(RunObserver):
    """Keeps the latest readable pictures of a run with their features, so that a report need not encode them again."""

    def __init__(self, bound: int = BOUND) -> None:
        """Begin with none."""
        self._kept: deque[tuple[str, ImageRef | None, Tensor]] = deque(maxlen=bound)
        self.count = 0
        """Pictures so far, those that are no longer kept included."""

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
        """Their files as they were named; None if one of them is no file."""
        if any(ref is None or ref.key is None for _, ref, _ in self._kept):
            return None
        return [name for name, _, _ in self._kept]
