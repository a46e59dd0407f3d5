"""Frozen scoring for many requests at once: decoding threads, one CLIP thread, batches across requests."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoding import Encoder, encoder_lock
from ants_engine.common.features import check_features
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Explanation, Score
from ants_engine.errors import ANTSError, FeatureError, ImageUnreadableError
from ants_engine.serve.inputs import Item
from ants_engine.serve.metrics import ServerMetrics
from ants_engine.serve.options import Refusal, ServeOptions
from ants_engine.settings.config import ImageSettings


class PixelBudget:
    """Bounds the pixels that all threads decode at the same time. One picture alone always has room, however large."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self.held = 0
        """Pixels being decoded now."""

    @contextmanager
    def turn(self) -> Iterator["PixelTurn"]:
        """Decode one picture in the block; its pixels are given back at the end."""
        turn = PixelTurn(self)
        try:
            yield turn
        finally:
            with self._changed:
                self.held -= turn.held
                self._changed.notify_all()

    def take(self, count: int) -> None:
        """Wait until there is room."""
        # first come, first served: small pictures would keep a large one waiting for ever
        with self._door, self._changed:
            self._changed.wait_for(lambda: not self.held or self.held + count <= self._limit)
            self.held += count


class PixelTurn:
    """One picture's part of a `PixelBudget`."""

    def __init__(self, budget: PixelBudget) -> None:
        """Take nothing yet."""
        self._budget = budget
        self.held = 0
        """Pixels."""

    def take(self, count: int) -> None:
        """Wait for room; a picture that is decoded again has it already."""
        if not self.held:
            self._budget.take(count)
            self.held = count


Input = TypeVar("Input")
Output = TypeVar("Output")


class RequestBatcher(Generic[Input, Output]):
    """Dynamic batching: a queue in front of a function that takes many inputs, and a task that empties it.

    While a call runs, new inputs gather for the next one. When idle, a call starts at once unless more are expected.
    """

    def __init__(
        self, run: Callable[[list[Input]], Sequence[Output]], executor: Executor, size: int, wait: float
    ) -> None:
        """Prepare; `start` starts the task.

        Args:
            run: called in the executor with 1 to ``size`` inputs; returns as many outputs.
            executor: with one thread.
            size: inputs of one call at most.
            wait: seconds that the first input waits for expected ones.
        """
        self._run = run
        self._executor = executor
        self._size = size
        self._wait = wait
        self._ready: deque[tuple[Input, asyncio.Future[Output]]] = deque()
        self._changed = asyncio.Event()
        self._coming = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the loop runs."""
        self._task = asyncio.create_task(self._loop(), name="ants-batches")

    async def aclose(self) -> None:
        """End; waiting inputs are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for _, future in self._ready:
            future.cancel()

    def expect(self, count: int) -> None:
        """Announce ``count`` more inputs, or (negative) withdraw them."""
        self._coming += count
        self._changed.set()

    def submit(self, item: Input) -> "asyncio.Future[Output]":
        """Queue an input; one whose future is cancelled before its call is skipped."""
        future: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        self._ready.append((item, future))
        self._changed.set()
        return future

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            futures = [future for _, future in batch]
            try:
                outputs = await loop.run_in_executor(self._executor, self._run, [item for item, _ in batch])
            except asyncio.CancelledError:
                for future in futures:
                    future.cancel()
                raise
            except Exception as error:
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
                continue
            for future, output in zip(futures, outputs, strict=True):
                if not future.done():
                    future.set_result(output)

    async def _gather(self) -> list[tuple[Input, "asyncio.Future[Output]"]]:
        loop = asyncio.get_running_loop()
        while True:
            while not self._ready:
                await self._change()
            deadline = loop.time() + self._wait
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    while len(self._ready) < self._size and self._coming > 0:
                        await self._change()
            batch: list[tuple[Input, asyncio.Future[Output]]] = []
            while self._ready and len(batch) < self._size:
                item, future = self._ready.popleft()
                if not future.done():
                    batch.append((item, future))
            if batch:
                return batch

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@dataclass(frozen=True, slots=True)
class Scored:
    """One item after CLIP."""

    feature: Tensor
    """(D,) float32, L2-normalised."""
    score: Score
    """Its frozen score; the score's name is a position in a batch and means nothing."""


class Scorer:
    """Scores items with a frozen detector. `start` it on the loop; `aclose` ends its threads."""

    def __init__(
        self, detector: Detector, encoder: Encoder, limits: ImageSettings, options: ServeOptions, metrics: ServerMetrics
    ) -> None:
        """Prepare; no thread runs yet.

        Args:
            detector: frozen.
            encoder: its CLIP.
            limits: for decoding.
            options: sizes of batches and of the queue.
            metrics: count every call.
        """
        self._detector = detector
        self._encoder = encoder
        self._limits = limits
        self._options = options
        self._metrics = metrics
        self._clip = ThreadPoolExecutor(1, thread_name_prefix="ants-serve-clip")
        self._pixels = PixelBudget(limits.max_pixels)
        self._decoding = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="ants-serve-decode")
        self._pictures = RequestBatcher(self._encode, self._clip, options.batch_size, options.wait)
        self._features = RequestBatcher(self._score, self._clip, options.batch_size, 0.0)
        self._pace = 0.01
        """Moving average of CLIP's seconds per picture."""
        self.waiting = 0
        """Items accepted and not answered yet."""

    def start(self) -> None:
        """Begin; the loop runs."""
        self._pictures.start()
        self._features.start()

    async def aclose(self) -> None:
        """End; waiting items are cancelled."""
        await self._pictures.aclose()
        await self._features.aclose()
        for threads in (self._decoding, self._clip):
            await asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True)

    @contextmanager
    def places(self, count: int) -> Iterator[None]:
        """Hold places in the queue for ``count`` items.

        Raises:
            Refusal: 429, the queue is full.
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
        """Score items; for one that cannot be used the list has its error."""
        if len(items) == 1:
            # saves a task for the most frequent request of a busy server
            try:
                return [await self._one(items[0])]
            except ANTSError as error:
                return [error]
        # with return_exceptions, no item is left running when another one fails
        found = await asyncio.gather(*(self._one(item) for item in items), return_exceptions=True)
        ended: list[Scored | ANTSError] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, ANTSError):
                raise one
            ended.append(one)
        return ended

    def explain(self, scored: Scored, top: int) -> Explanation:
        """Return the classes and texts nearest to an item (blocking, a few milliseconds)."""
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
        assert item.data is not None  # noqa: S101  # checked in `_one`
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
