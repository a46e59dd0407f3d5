"""What a build learns from: pictures that CLIP encodes here, or features that it already gave, batch by batch."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoding import encoder_lock
from ants_engine.clip.image_ref import ImageRef, Spool
from ants_engine.clip.sources import ImageStream, open_images
from ants_engine.clip.web_address import address_name, web_scheme
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.features import as_tensor, check_features
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.errors import FeatureError, ImageError, NoImagesError
from ants_engine.settings.config import ImageSettings, Settings

if TYPE_CHECKING:
    from PIL.Image import Image

    from ants_engine.clip.encoding import Encoder


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
    rows: list[int]
    """Of the n pictures: their rows in the whole batch, failures counted."""

    @property
    def size(self) -> int:
        """Return how many pictures the batch has, failures counted."""
        return len(self.refs) + len(self.failures)


class Pictures:
    """A source of `PictureBatch`es."""

    def __init__(self, images: Any, features: Any | None) -> None:
        """Keep the inputs; nothing is read yet.

        Args:
            images: whatever `open_images` takes; may be None with features.
            features: (N, D) of the same pictures in the same order, or None.

        Raises:
            NoImagesError: there is nothing at the place that ``images`` names.
            FeatureError: ``features`` is no array of numbers.
        """
        self._features = None if features is None else as_tensor(features)
        self._stream = None if images is None else open_images(images)
        rows = None if self._features is None else len(self._features) if self._features.ndim else 0
        self.total = rows if self._stream is None or rows is not None else self._stream.total
        """How many there are, where that is known beforehand."""

    def batches(self, worker: "ClipWorker", settings: Settings, batch_size: int) -> AsyncGenerator[PictureBatch, None]:
        """Yield the pictures in order, ``batch_size`` at a time.

        Raises:
            FeatureError: the features do not fit this CLIP, or their number is not that of the pictures.
        """
        if self._features is None:
            return self._encoded(worker, settings, batch_size)
        return self._given(worker.encoder.dim, batch_size)

    @property
    def features_only(self) -> bool:
        """Whether there are features and no pictures to show."""
        return self._stream is None

    @property
    def notes(self) -> list[str]:
        """What a reader should know of the pictures: what was left out of folders."""
        note = None if self._stream is None else self._stream.note
        return [] if note is None else [note]

    def refuse_gone(self) -> None:
        """Look whether a single one of the files is there, where CLIP is to read them (blocking).

        Raises:
            NoImagesError: it is a list of files, and none of them is there.
        """
        if self._stream is not None and self._features is None:
            self._stream.refuse_gone()

    def allow_none(self) -> None:
        """Let an iterator of pictures end at once, without an error."""
        if self._stream is not None:
            self._stream.empty_allowed = True

    async def _encoded(
        self, worker: "ClipWorker", settings: Settings, batch_size: int
    ) -> AsyncGenerator[PictureBatch, None]:
        if self._stream is None:
            return
        side = settings.mllm.image_max_side
        store = settings.clip.feature_store
        batches = worker.image_batches(self._stream, batch_size, settings.pictures, keep_side=side, feature_store=store)
        async with aclosing(batches):
            async for batch in batches:
                first = min(ref.index for ref in (*batch.refs, *(ref for ref, _ in batch.failures)))
                yield PictureBatch(
                    refs=list(batch.refs),
                    names=[ref.name for ref in batch.refs],
                    features=batch.features,
                    images=list(batch.images),
                    failures=[error for _, error in batch.failures],
                    rows=[ref.index - first for ref in batch.refs],
                )

    async def _given(self, dim: int, batch_size: int) -> AsyncGenerator[PictureBatch, None]:
        features = check_features(self._features, dim)
        own: list[ImageRef | None] = []
        count = 0
        async with aclosing(self._references(len(features))) as refs:
            async for ref in refs:
                own.append(ref)
                count += 1
                if len(own) == batch_size or count == len(features):
                    start = count - len(own)
                    names = [ref.name if ref else f"#{row}" for row, ref in enumerate(own, start)]
                    yield PictureBatch(own, names, features[start:count], [None] * len(own), [], list(range(len(own))))
                    own = []
        if count != len(features):
            raise FeatureError(f"{len(features)} rows of features for {count} pictures; give one row per picture")

    async def _references(self, rows: int) -> AsyncGenerator[ImageRef | None, None]:
        """Yield a reference per row, in step with the batches, so that an iterator is not run ahead of."""
        if self._stream is None:
            for _ in range(rows):
                yield None
            return
        count = 0
        async with aclosing(aiter(self._stream)) as refs:
            async for ref in refs:
                count += 1
                if count > rows:
                    raise FeatureError(
                        f"{rows} rows of features for {count} or more pictures; give one row per picture"
                    )
                yield ref


def keep_pictures(batch: PictureBatch, rows: Sequence[int], spool: Spool, settings: Settings) -> list[ImageError]:
    """Keep on disk what the MLLM may have to see and nobody can read again; let go of the rest (blocking).

    Args:
        batch: its references are replaced; by None where a picture cannot be read.
        rows: which of its pictures may have to be seen.
        spool: where they are kept.
        settings: limits, and the size at which pictures are shown.

    Returns:
        Why a picture cannot be shown, where features were given for one that cannot be read.
    """
    errors: list[ImageError] = []
    for row in rows:
        ref, image = batch.refs[row], batch.images[row]
        if ref is None or ref.rereadable:
            continue
        try:
            # where features were given, nobody has decoded it yet
            image = image or ref.load(settings.pictures)
        except ImageError as error:
            errors.append(error)
            batch.refs[row] = None
        else:
            batch.refs[row] = spool.put(ref, image, settings.mllm.image_max_side)
    for ref in batch.refs:
        if ref is not None:
            ref.release()
    return errors


async def encode_all(
    stream: ImageStream, encoder: "Encoder", settings: Settings, progress: ProgressCallback
) -> tuple[Tensor, list[str], dict[int, ImageError]]:
    """Return features (N, D), names and failures by row, in input order; a failure's features mean nothing.

    Raises:
        NoImagesError: there is no picture.
        ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
    """
    rows: dict[int, tuple[str, Tensor | None]] = {}
    failures: dict[int, ImageError] = {}
    clip = settings.clip
    async with ClipWorker(encoder) as worker:
        batches = worker.image_batches(stream, clip.batch_size, settings.pictures, feature_store=clip.feature_store)
        async for batch in batches:
            for ref, feature in zip(batch.refs, batch.features, strict=True):
                rows[ref.index] = (ref.name, feature)
            for ref, error in batch.failures:
                rows[ref.index] = (ref.name, None)
                failures[ref.index] = error
            progress(ProgressEvent("pictures", len(rows), stream.total))
    if not rows:
        raise NoImagesError("there are no pictures to score")
    blank = torch.zeros(encoder.dim)
    ordered = [rows[index] for index in sorted(rows)]
    features = torch.stack([blank if feature is None else feature for _, feature in ordered])
    return features, [name for name, _ in ordered], failures


def encode_one(image: Any, encoder: "Callable[[], Encoder]", limits: ImageSettings) -> tuple[Tensor, str]:
    """Return the feature (D,) of one picture, and a name for it (blocking).

    Raises:
        ImageError: the picture cannot be used.
    """
    name = str(image) if isinstance(image, (str, Path)) else type(image).__name__
    if isinstance(image, str) and web_scheme(image):
        # its query may hold a token
        name = address_name(image)
    picture = load_rgb(image, name=name, limits=limits)
    # loaded for a picture that can be read
    clip = encoder()
    inputs = [clip.preprocess(picture)]
    with encoder_lock(clip):
        return clip.encode_inputs(inputs)[0], name
