"""Named streams: each is a detector of its own that adapts to its clients' pictures; they are saved and found again."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import torch

from ants_engine.ants import ANTS
from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.clip.worker import ClipWorker
from ants_engine.detector.scores import Scores
from ants_engine.errors import ANTSError, DetectorFolderError, ImageError, ImageUnreadableError
from ants_engine.learning.pictures import PictureBatch, Pictures
from ants_engine.learning.stream import Stream
from ants_engine.protocol import Backend
from ants_engine.serve.answers import StreamAnswer
from ants_engine.serve.inputs import Item
from ants_engine.serve.options import Refusal, ServeOptions
from ants_engine.serve.scorer import Scored
from ants_engine.settings.config import Settings


class Feed(Pictures):
    """An endless source of pictures: each batch is one request."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__(None, None)
        self._batches: asyncio.Queue[PictureBatch] = asyncio.Queue()

    def put(self, batch: PictureBatch) -> None:
        """Add the next batch."""
        self._batches.put_nowait(batch)

    def batches(self, worker: ClipWorker, settings: Settings, batch_size: int) -> AsyncGenerator[PictureBatch, None]:
        """Yield the batches as they were put; the stream's batch size does not apply."""

        async def fed() -> AsyncGenerator[PictureBatch, None]:
            while True:
                yield await self._batches.get()

        return fed()


def make_batch(items: Sequence[Item], found: Sequence[Scored | ANTSError], dim: int) -> PictureBatch:
    """Return a request's items with their features as a batch.

    Args:
        items: as sent; bytes of pictures are kept until the stream knows whether the MLLM has to see them.
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


class NamedStream:
    """One named stream. It processes batches one after another, in the order of arrival.

    A batch that has been processed counts, whether or not its client still waits.
    """

    def __init__(self, name: str, ants: ANTS, backend: Backend, folder: Path | None) -> None:
        """Prepare; the MLLM is opened with the first batch.

        Args:
            name: of the stream.
            ants: its own detector.
            backend: the MLLM, shared by all streams.
            folder: where it is saved; None: nowhere.
        """
        self.name = name
        self.ants = ants
        self._backend = backend
        self._folder = folder
        self._turn = asyncio.Lock()
        self._feed = Feed()
        self._stream: Stream | None = None
        self._saved_batches = ants.state.batch if folder is not None and folder.exists() else -1
        self._running: set[asyncio.Task[Scores]] = set()
        self._closed = False

    @property
    def saved(self) -> bool:
        """Whether all that it has learned is on disk."""
        return self._saved_batches == self.ants.state.batch

    def describe(self) -> StreamAnswer:
        """Return its state."""
        state = self.ants.state
        return StreamAnswer(
            name=self.name,
            batches=state.batch,
            pictures=state.pictures,
            sentences=len(state.detector.ens),
            look_alikes=len(state.detector.vsnl),
            threshold=state.detector.threshold,
            weight=state.detector.weight,
            saved=self.saved,
        )

    async def score(self, batch: PictureBatch) -> Scores:
        """Score a batch and adapt to it.

        Raises:
            ANTSError: the MLLM, or the store, cannot be used; the stream stays as it was.
            Refusal: 409, the stream was deleted while this batch waited.
        """
        async with self._turn:
            if self._closed:
                raise Refusal(409, "stream_deleted", "the stream was deleted before this batch was processed")
            task = asyncio.create_task(self._step(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                # the client has gone; the next batch must start from the state that this one leaves
                await asyncio.wait([task])
                raise

    async def save(self) -> None:
        """Save it in its folder, between two batches.

        Raises:
            DetectorFolderError: the folder cannot be written.
        """
        if self._folder is None:
            return
        async with self._turn:
            batches = self.ants.state.batch
            await asyncio.to_thread(self.ants.save, self._folder)
            self._saved_batches = batches

    async def aclose(self) -> None:
        """End it; its state stays. Requests with the MLLM have ``dispatch.grace`` seconds to finish."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        await self._break_off()

    async def _step(self, batch: PictureBatch) -> Scores:
        if self._stream is None:
            self._feed = Feed()
            self._stream = self.ants.stream(self._feed, backend=self._backend)
        self._feed.put(batch)
        try:
            return await anext(self._stream)
        except BaseException:
            await self._break_off()
            raise

    async def _break_off(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Lower case, since some file systems ignore case; no dot or slash, so that no name leads to another folder."""
_NAME = re.compile(NAME)
_LOG = logging.getLogger("ants_engine.serve")


class NamedStreams:
    """All named streams. Each opens at its first request, as a copy of the served detector or from its folder."""

    def __init__(self, ants: ANTS, backend: Backend, options: ServeOptions) -> None:
        """Begin with none.

        Args:
            ants: the detector that every stream starts from; it is not changed.
            backend: the MLLM of all streams.
            options: the limit of streams, and their folder.
        """
        self._ants = ants
        self._backend = backend
        self._options = options
        self._open: dict[str, NamedStream] = {}
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def all(self) -> list[NamedStream]:
        """Return the open ones, by name."""
        return [self._open[name] for name in sorted(self._open)]

    def find(self, name: str) -> NamedStream:
        """Return an open stream.

        Raises:
            Refusal: 404, there is none of that name.
        """
        found = self._open.get(name)
        if found is None:
            raise Refusal(404, "no_stream", "there is no open stream of this name; score with it to open it")
        return found

    async def open(self, name: str) -> NamedStream:
        """Return a stream; open it first if it is not open, from its folder if it was saved.

        Raises:
            Refusal: 409, no more may be open; 422, the name is not valid; 503, its folder cannot be read.
        """
        if not _NAME.fullmatch(name):
            raise Refusal(422, "bad_name", f"a stream's name has to match {NAME}")
        async with self._opening:
            if name in self._open:
                return self._open[name]
            if len(self._open) >= self._options.streams:
                raise Refusal(
                    409, "too_many_streams", f"{len(self._open)} streams are open and no more may be; delete one"
                )
            folder = self._folder(name)
            saved = folder if folder is not None and folder.exists() else None
            try:
                ants = await asyncio.to_thread(self._ants.fork, saved)
            except DetectorFolderError as error:
                # the message names the folder, which only the operator should see
                _LOG.error("stream %s: %s", name, error)  # the message is complete
                raise Refusal(
                    503, "damaged_stream", "the saved stream cannot be read; the server's log says why"
                ) from None
            stream = NamedStream(name, ants, self._backend, folder)
            self._open[name] = stream
            return stream

    async def close(self, name: str) -> None:
        """End a stream; its saved state stays in its folder.

        Raises:
            Refusal: 404, there is none of that name.
        """
        stream = self.find(name)
        del self._open[name]
        await stream.aclose()

    async def aclose(self) -> list[str]:
        """End all, and save them if there is a folder; return the errors."""
        failed = []
        for stream in self.all():
            await stream.aclose()
            try:
                await stream.save()
            except DetectorFolderError as error:
                failed.append(f"stream {stream.name}: {error}")
        self._open.clear()
        await self._backend.aclose()
        return failed

    def _folder(self, name: str) -> Path | None:
        return None if self._options.streams_folder is None else self._options.streams_folder / name
