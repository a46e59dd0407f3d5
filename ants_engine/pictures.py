"""What a build learns from: pictures that CLIP encodes here, or features that it already gave, batch by batch."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.sources import open_images
from ants_engine.config import Settings
from ants_engine.detector import check_features
from ants_engine.errors import FeatureError, ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from ants_engine.clip.worker import ClipWorker


@dataclass(slots=True)
class PictureBatch:
    """n pictures with features, and those of the batch that have none."""

    refs: list[ImageRef | None]
    names: list[str]
    features: Tensor
    """(n, D) float32, L2-normalised."""
    images: "list[Image | None]"
    """Decoded, where a picture cannot be read again; else None."""
    failures: list[ImageError]


class Pictures:
    """A source of `PictureBatch`es."""

    def __init__(self, images: Any, features: Any | None) -> None:
        """Keep the inputs; nothing is read yet.

        Args:
            images: whatever `open_images` takes; may be None with features.
            features: (N, D) of the same pictures in the same order, or None.
        """
        self._features = features
        self._stream = None if images is None else open_images(images)
        self.total: int | None = len(features) if features is not None else self._stream.total if self._stream else 0

    def batches(self, worker: "ClipWorker", settings: Settings) -> AsyncIterator[PictureBatch]:
        """Yield the pictures in order.

        Raises:
            FeatureError: the features do not fit this CLIP, or their number is not that of the pictures.
        """
        if self._features is None:
            return self._encoded(worker, settings)
        return self._given(worker.encoder.dim, settings.clip.batch_size)

    async def _encoded(self, worker: "ClipWorker", settings: Settings) -> AsyncIterator[PictureBatch]:
        if self._stream is None:
            return
        side = settings.mllm.image_max_side
        batches = worker.image_batches(self._stream, settings.clip.batch_size, settings.pictures, keep_side=side)
        async for batch in batches:
            yield PictureBatch(
                refs=list(batch.refs),
                names=[ref.name for ref in batch.refs],
                features=batch.features,
                images=list(batch.images),
                failures=[error for _, error in batch.failures],
            )

    async def _given(self, dim: int, batch_size: int) -> AsyncIterator[PictureBatch]:
        features = check_features(self._features, dim)
        refs: list[ImageRef | None] = [None] * len(features)
        if self._stream is not None:
            refs = [ref async for ref in self._stream]
            if len(refs) != len(features):
                raise FeatureError(
                    f"{len(features)} rows of features for {len(refs)} pictures; give one row per picture"
                )
        for start in range(0, len(features), batch_size):
            rows = range(start, min(start + batch_size, len(features)))
            own = refs[rows.start : rows.stop]
            names = [ref.name if ref else f"#{row}" for row, ref in zip(rows, own, strict=True)]
            yield PictureBatch(own, names, features[rows.start : rows.stop], [None] * len(own), [])
