"""Pictures of a stream that come request by request, with features from the server's CLIP."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import torch

from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.clip.worker import ClipWorker
from ants_engine.errors import ANTSError, ImageError, ImageUnreadableError
from ants_engine.learning.pictures import PictureBatch, Pictures
from ants_engine.serve.item import Item
from ants_engine.serve.scorer import Scored
from ants_engine.settings.config import Settings


class Feed(Pictures):
    """A source without an end: each batch is one request's pictures, however many they are."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__(None, None)
        self._batches: asyncio.Queue[PictureBatch] = asyncio.Queue()

    def put(self, batch: PictureBatch) -> None:
        """Hand over the next batch."""
        self._batches.put_nowait(batch)

    def batches(self, worker: ClipWorker, settings: Settings, batch_size: int) -> AsyncGenerator[PictureBatch, None]:
        """Yield what is put; the stream's own batch size has no say."""
        return self._fed()

    async def _fed(self) -> AsyncGenerator[PictureBatch, None]:
        while True:
            yield await self._batches.get()


def make_batch(items: Sequence[Item], found: Sequence[Scored | ANTSError], dim: int) -> PictureBatch:
    """Put a request's items and what CLIP made of them into a batch.

    Args:
        items: as sent; the bytes of pictures are kept until the stream knows whether the MLLM has to see them.
        found: per item its feature, or why it has none.
        dim: D.
    """
    refs: list[ImageRef | None] = []
    names, rows, features = [], [], []
    failures: list[ImageError] = []
    for row, (item, one) in enumerate(zip(items, found, strict=True)):
        if isinstance(one, ANTSError):
            failures.append(one if isinstance(one, ImageError) else ImageUnreadableError(item.name, str(one)))
            continue
        refs.append(None if item.data is None else ImageRef(row, item.name, None, False, Held(item.data)))
        names.append(item.name)
        rows.append(row)
        features.append(one.feature)
    stacked = torch.stack(features) if features else torch.empty(0, dim)
    return PictureBatch(refs, names, stacked, [None] * len(refs), failures, rows)
