"""One named stream: a detector of its own that adapts to what its clients send."""

import asyncio
from pathlib import Path

from ants_engine.ants import ANTS
from ants_engine.detector.scores import Scores
from ants_engine.learning.pictures import PictureBatch
from ants_engine.learning.stream import Stream
from ants_engine.protocol import Backend
from ants_engine.serve.feed import Feed
from ants_engine.serve.refusal import Refusal


class NamedStream:
    """Takes batches one after another, in the order of their coming.

    A batch that has had its turn counts, whether or not its client still waits.
    """

    def __init__(self, name: str, ants: ANTS, backend: Backend, folder: Path | None) -> None:
        """Prepare; the MLLM is opened with the first batch.

        Args:
            name: the stream's.
            ants: its own, nobody else's.
            backend: the MLLM, shared by all streams.
            folder: where it is saved; nowhere when empty.
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

    async def score(self, batch: PictureBatch) -> Scores:
        """Score a batch and adapt to it.

        Raises:
            ANTSError: the MLLM, or the store, cannot be used at all; the stream stays as it was.
            Refusal: 409, it was deleted while this batch waited for its turn.
        """
        async with self._turn:
            if self._closed:
                raise Refusal(409, "stream_deleted", "the stream was deleted before this batch had its turn")
            task = asyncio.create_task(self._step(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                # the client has gone, and the next batch must find the stream where this one leaves it
                await asyncio.wait([task])
                raise

    async def save(self) -> None:
        """Write it to its folder, as it stands between two batches.

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
        """End it; its state stays. What is with the MLLM has ``dispatch.grace`` to come home."""
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
