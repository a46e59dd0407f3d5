"""Frozen scoring for many requests at once: decoding threads, one CLIP thread, batches across requests."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoding import Encoder, encoder_lock
from ants_engine.common.features import check_features
from ants_engine.detector.detector import Detector
from ants_engine.detector.explanation import Explanation
from ants_engine.detector.scores import Score
from ants_engine.errors import ANTSError, FeatureError, ImageUnreadableError
from ants_engine.serve.batcher import Batcher
from ants_engine.serve.item import Item
from ants_engine.serve.metrics import Metrics
from ants_engine.serve.options import ServeOptions
from ants_engine.serve.pixel_budget import PixelBudget
from ants_engine.serve.refusal import Refusal
from ants_engine.settings.config import ImageSettings


@dataclass(frozen=True, slots=True)
class Scored:
    """One item after CLIP."""

    feature: Tensor
    """(D,) float32, L2-normalised."""
    score: Score
    """Its frozen score; its name is the item's position in a batch and means nothing."""


class Scorer:
    """Scores items with a detector that does not change. `start` it on the loop; `aclose` ends its threads."""

    def __init__(
        self, detector: Detector, encoder: Encoder, limits: ImageSettings, options: ServeOptions, metrics: Metrics
    ) -> None:
        """Prepare; no thread runs yet.

        Args:
            detector: scores are its own.
            encoder: its CLIP.
            limits: which pictures are taken.
            options: sizes of batches and of the queue.
            metrics: told of every call.
        """
        self._detector = detector
        self._encoder = encoder
        self._limits = limits
        self._options = options
        self._metrics = metrics
        self._clip = ThreadPoolExecutor(1, thread_name_prefix="ants-serve-clip")
        self._pixels = PixelBudget(limits.max_pixels)
        self._decoding = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="ants-serve-decode")
        self._pictures = Batcher(self._encode, self._clip, options.batch_size, options.wait)
        self._features = Batcher(self._score, self._clip, options.batch_size, 0.0)
        self._pace = 0.01
        """Seconds a picture, as CLIP has lately needed."""
        self.waiting = 0
        """Items that have been accepted and not answered."""

    def start(self) -> None:
        """Begin; the loop runs."""
        self._pictures.start()
        self._features.start()

    async def aclose(self) -> None:
        """End; what waits is not answered any more."""
        await self._pictures.aclose()
        await self._features.aclose()
        for threads in (self._decoding, self._clip):
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold places in the queue for so many items.

        Raises:
            Refusal: 429, there are not as many.
        """
        if self.waiting + count > self._options.max_waiting:
            after = max(1, ceil(self.waiting * self._pace))
            raise Refusal(429, "too_busy", f"{self.waiting} pictures are waiting; try again", retry_after=after)
        self.waiting += count
        try:
            yield
        finally:
            self.waiting -= count

    async def score(self, items: Sequence[Item]) -> list[Scored | ANTSError]:
        """Score items, each for itself: one that cannot be used is its error."""
        if len(items) == 1:
            # without a task of its own, which is what most requests of a busy server need
            try:
                return [await self._one(items[0])]
            except ANTSError as error:
                return [error]
        # gathered with its exceptions: no item is left running when another one fails
        found = await asyncio.gather(*(self._one(item) for item in items), return_exceptions=True)
        ended: list[Scored | ANTSError] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, ANTSError):
                raise one
            ended.append(one)
        return ended

    def explain(self, scored: Scored, top: int) -> Explanation:
        """Say what is near to an item (blocking, a few milliseconds)."""
        return self._detector.explain(scored.feature, "", top)

    async def _one(self, item: Item) -> Scored:
        if item.data is None:
            return await self._features.submit(self._checked(item))
        loop = asyncio.get_running_loop()
        self._pictures.expect(1)
        try:
            ready = await loop.run_in_executor(self._decoding, self._decode, item)
            waiting = self._pictures.submit(ready)
        finally:
            self._pictures.expect(-1)
        return await waiting

    def _checked(self, item: Item) -> Tensor:
        if item.feature is None:
            raise ImageUnreadableError(item.name, item.error or "is empty")
        try:
            return check_features(torch.tensor(item.feature, dtype=torch.float64)[None], self._detector.dim)[0]
        except FeatureError as error:
            raise FeatureError(f"{item.name}: {error}") from None

    def _decode(self, item: Item) -> Tensor:
        assert item.data is not None  # noqa: S101  # `_one` has looked
        try:
            with self._pixels.turn() as turn:
                picture = load_rgb(item.data, name=item.name, limits=self._limits, admit=turn.take)
                return self._encoder.preprocess(picture)
        except MemoryError:
            raise ImageUnreadableError(item.name, "there is not enough memory to decode it") from None

    def _encode(self, inputs: list[Tensor]) -> list[Scored]:
        started = time.perf_counter()
        with encoder_lock(self._encoder):
            features = self._encoder.encode_inputs(inputs)
        scored = self._score(list(features))
        seconds = time.perf_counter() - started
        self._pace += 0.1 * (seconds / len(inputs) - self._pace)
        self._metrics.clip_call(len(inputs), seconds)
        return scored

    def _score(self, features: list[Tensor]) -> list[Scored]:
        scores = self._detector.score(torch.stack(features))
        return [Scored(feature, scores[row]) for row, feature in enumerate(features)]
