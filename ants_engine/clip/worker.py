"""CLIP beside the event loop: one thread encodes, several decode ahead of it (double buffering)."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import torch
from PIL import Image

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoding import Encoder, encoder_lock
from ants_engine.clip.feature_store import PictureFeatures, TextFeatureCache, TextRows, content_key
from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.picture import shrink
from ants_engine.clip.sources import ImageStream
from ants_engine.errors import ImageError, ImageUnreadableError
from ants_engine.settings.config import ImageSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """``batch_size`` consecutive pictures of a stream (fewer at its end), unusable ones set aside.

    The stream alone determines the batches: an unusable picture makes its batch smaller and moves no other picture.
    """

    refs: tuple[ImageRef, ...]
    """The n usable pictures, in order."""
    images: tuple[Image.Image | None, ...]
    """Per usable picture: decoded RGB for a `Spool`, where requested and not rereadable; else None."""
    features: torch.Tensor
    """Float32 (n, D), every row of length 1."""
    failures: tuple[tuple[ImageRef, ImageError], ...]
    """The unusable pictures, in order, each with its error."""


class ClipWorker:
    """An encoder in a thread, so that encoding never blocks the loop; calls are serialised by `encoder_lock`.

    Use as an async context manager, or call `aclose`; the encoder itself belongs to the caller and stays loaded.
    """

    def __init__(self, encoder: Encoder, text_folder: Path | None = None) -> None:
        """Wrap a loaded encoder.

        Args:
            encoder: CLIP.
            text_folder: where `encode_texts` caches features; nowhere by default.
        """
        self.encoder = encoder
        self._texts = TextRows(text_folder, encoder.dim)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ants-clip")
        self._jobs: set[Future[object]] = set()
        self._stops: set[threading.Event] = set()
        self._pipelines: set[_Decoding] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all threads; a running job ends at its next batch. May be called twice."""
        for pipeline in tuple(self._pipelines):
            await pipeline.aclose()
        for stop in self._stops:
            stop.set()
        await _end(self._thread, self._jobs)

    async def encode_texts(
        self,
        texts: Sequence[str],
        on_progress: Callable[[int], None] | None = None,
        *,
        cache: TextFeatureCache | TextRows | None = None,
    ) -> torch.Tensor:
        """Encode texts, or read the cached features of exactly this list; see `ClipEncoder.encode_texts`.

        Args:
            texts: K texts.
            on_progress: called on the event loop with the number of distinct texts encoded so far.
            cache: where features are read and kept; the worker's own by default.

        Returns:
            Float32 (K, D) on the CPU, every row of length 1, in the order given.
        """
        loop = asyncio.get_running_loop()
        model, store = self.encoder.text_batches_sha256, self._texts if cache is None else cache

        def encode(stop: threading.Event) -> torch.Tensor:
            def progress(done: int) -> None:
                if stop.is_set():
                    raise _StoppedError
                if on_progress is not None:
                    loop.call_soon_threadsafe(on_progress, done)

            features = store.load(model, texts)
            if features is None:
                with self._locked(stop):
                    features = self.encoder.encode_texts(texts, progress)
                store.save(model, texts, features)
            return features

        return await self._run(encode)

    async def image_batches(
        self,
        stream: ImageStream,
        batch_size: int,
        limits: ImageSettings,
        *,
        keep_side: int | None = None,
        feature_store: Path | None = None,
    ) -> AsyncGenerator[Batch, None]:
        """Decode and encode a stream batch by batch; at most two batches are decoded at a time.

        The next batch is encoded while the caller works on the last one.

        Args:
            stream: the pictures.
            batch_size: pictures per batch.
            limits: what is accepted, the number of decoding threads, and whether an unusable picture ends the run.
            keep_side: `Batch.images` are shrunk to this longest side in pixels, which bounds their memory; without it
                none are kept.
            feature_store: a folder of `PictureFeatures`; pictures found there are not encoded.

        Yields:
            Batches in the stream's order.

        Raises:
            ImageError: the first unusable picture, where ``limits.on_error`` is ``raise``.
            NoImagesError: the stream is empty.
            FeatureError: the model gave a number that is not finite.
        """
        known = None if feature_store is None else PictureFeatures(feature_store, self.encoder.identity, limits)
        pipeline = _Decoding(self.encoder, stream, limits, keep_side, known, 2 * batch_size)
        self._pipelines.add(pipeline)
        following: asyncio.Task[Batch | None] | None = None
        try:
            batch = await self._next_batch(pipeline, batch_size)
            while batch is not None:
                pipeline.free(len(batch.refs) + len(batch.failures))
                following = asyncio.create_task(self._next_batch(pipeline, batch_size))
                yield batch
                # nothing here may outlive the caller's use of it
                del batch
                batch = await following
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])
                # retrieve an error that nobody awaits
                _ = following.cancelled() or following.exception()
            await pipeline.aclose()
            self._pipelines.discard(pipeline)

    async def _next_batch(self, pipeline: "_Decoding", batch_size: int) -> Batch | None:
        items = await pipeline.take(batch_size)
        if not items:
            return None
        failures = tuple((item.ref, item.error) for item in items if item.error is not None)
        if failures and pipeline.limits.on_error == "raise":
            raise failures[0][1]
        good = [item for item in items if item.error is None]
        features = await self._run(lambda stop: self._features(good, pipeline.known, stop))
        return Batch(tuple(item.ref for item in good), tuple(item.kept for item in good), features, failures)

    def _features(
        self, items: "Sequence[_Decoded]", known: PictureFeatures | None, stop: threading.Event
    ) -> torch.Tensor:
        """Encode the pictures without a cached feature in one batch, and cache them."""
        new = [item.input for item in items if item.input is not None]
        with self._locked(stop):
            encoded = self.encoder.encode_inputs(new)
        if known is None or not len(items):
            return encoded
        rows = iter(encoded)
        features = [next(rows) if item.feature is None else item.feature for item in items]
        named = [row for row, item in enumerate(items) if item.feature is None and item.key is not None]
        if named:
            known.save([items[row].key or b"" for row in named], torch.stack([features[row] for row in named]))
        return torch.stack(features)

    @contextmanager
    def _locked(self, stop: threading.Event) -> Iterator[None]:
        with encoder_lock(self.encoder):
            if stop.is_set():
                # the caller was cancelled while this waited
                raise _StoppedError
            yield

    async def _run(self, job: Callable[[threading.Event], T]) -> T:
        """Run a job in the thread; its event is set when the caller is cancelled."""
        stop = threading.Event()
        future: Future[T] = self._thread.submit(job, stop)
        self._jobs.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._jobs.discard)
        self._stops.add(stop)
        try:
            return await asyncio.wrap_future(future)
        finally:
            # a cancelled caller must not keep the thread busy with a whole lexicon
            stop.set()
            self._stops.discard(stop)


class _StoppedError(Exception):
    """The caller was cancelled."""


@dataclass(slots=True)
class _Decoded:
    """One decoded picture: an input for CLIP, a cached feature, or an error."""

    ref: ImageRef
    input: torch.Tensor | None = None
    feature: torch.Tensor | None = None
    key: bytes | None = None
    """The sha256 of its file, where features are cached."""
    kept: Image.Image | None = None
    error: ImageError | None = None


class _Decoding:
    """Pulls references from a stream and decodes them in threads, bounded and in order."""

    def __init__(
        self,
        encoder: Encoder,
        stream: ImageStream,
        limits: ImageSettings,
        keep_side: int | None,
        known: PictureFeatures | None,
        ahead: int,
    ) -> None:
        self._encoder = encoder
        self._stream = stream
        self.limits = limits
        self._keep_side = keep_side
        self.known = known
        self._slots = asyncio.Semaphore(ahead)
        self._threads = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="ants-decode")
        self._jobs: set[Future[object]] = set()
        self._queue: asyncio.Queue[Future[_Decoded] | BaseException | None] = asyncio.Queue()
        self._producer = asyncio.create_task(self._produce())
        self._ended = False

    async def take(self, count: int) -> list[_Decoded]:
        """Return the next ``count`` pictures, fewer at the end, none after it."""
        futures: list[Future[_Decoded]] = []
        while len(futures) < count and not self._ended:
            item = await self._queue.get()
            if isinstance(item, Future):
                futures.append(item)
                continue
            self._ended = True
            if item is not None:
                raise item
        return [await asyncio.wrap_future(future) for future in futures]

    def free(self, count: int) -> None:
        """Allow as many further pictures to be decoded."""
        for _ in range(count):
            self._slots.release()

    async def aclose(self) -> None:
        """Stop pulling and decoding; waits for the pictures that are being decoded."""
        self._producer.cancel()
        await asyncio.wait([self._producer])
        await _end(self._threads, self._jobs)

    async def _produce(self) -> None:
        try:
            async with aclosing(aiter(self._stream)) as refs:
                await self._slots.acquire()
                async for ref in refs:
                    future = self._threads.submit(self._decode, ref)
                    self._jobs.add(future)  # type: ignore[arg-type]
                    future.add_done_callback(self._jobs.discard)
                    self._queue.put_nowait(future)
                    # backpressure: the stream is not advanced further than there is room
                    await self._slots.acquire()
        except asyncio.CancelledError:
            # by `aclose`, or by the user's own iterator, in which case `take` is waiting for the next picture
            self._queue.put_nowait(RuntimeError("the iterator of pictures was cancelled"))
            raise
        except Exception as error:
            self._queue.put_nowait(error)
        else:
            self._queue.put_nowait(None)

    def _decode(self, ref: ImageRef) -> _Decoded:
        try:
            return self._decoded(ref)
        except ImageError as error:
            return _Decoded(ref, error=error)
        except MemoryError:
            return _Decoded(ref, error=ImageUnreadableError(ref.name, "there is not enough memory to decode it"))
        finally:
            ref.release()

    def _decoded(self, ref: ImageRef) -> _Decoded:
        wanted = self._keep_side is not None and not ref.rereadable
        data = None if self.known is None else ref.read(self.limits)
        key = feature = None
        if self.known is not None and data is not None:
            key = content_key(data)
            (feature,) = self.known.load([key])
            if feature is not None and not wanted:
                return _Decoded(ref, feature=feature, key=key)
        # read once, so that the bytes that were hashed are the bytes that are decoded
        image = ref.load(self.limits) if data is None else load_rgb(data, name=ref.name, limits=self.limits)
        ready = self._encoder.preprocess(image) if feature is None else None
        # the shrunk copy goes to the consumer; a large picture is freed at once
        kept = shrink(image, self._keep_side) if wanted and self._keep_side is not None else None
        return _Decoded(ref, ready, feature, key, kept)


async def _end(threads: ThreadPoolExecutor, jobs: set[Future[object]]) -> None:
    """Shut an executor down without blocking the loop: pending jobs are cancelled, running ones awaited."""
    threads.shutdown(wait=False, cancel_futures=True)
    running = [asyncio.wrap_future(job) for job in tuple(jobs) if not job.done()]
    await asyncio.gather(*running, return_exceptions=True)
    # idle by now, so that this returns at once
    threads.shutdown(wait=True)
