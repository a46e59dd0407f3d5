"""A stream: pictures in, scores out batch by batch, with a detector that adapts on the way."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from ants_engine.detector.scores import Scores
from ants_engine.errors import UsageError
from ants_engine.learning.report import BatchRecord, StreamReport
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.stream_loop import Delivered


class Owner(Protocol):
    """Whose state a stream moves on."""

    @property
    def state(self) -> AdaptationState:
        """The state as it now is."""
        ...

    def begin(self, stream: "Stream") -> None:
        """Refuse a second stream at the same time."""
        ...

    def adopt(self, state: AdaptationState) -> None:
        """Take over the state after a delivered batch."""
        ...

    def note_batch(self, record: BatchRecord) -> None:
        """Keep the record of a delivered batch."""
        ...


@dataclass(frozen=True, slots=True)
class _End:
    """There are no more batches, or there was an error."""

    error: BaseException | None


Run = Callable[[AdaptationState, "asyncio.Queue[Any]"], Awaitable[None]]
"""Scores everything from a state on, handing batch by batch to a queue."""


class Stream:
    """An asynchronous iterator of `Scores`, one per batch; make one with `ANTS.stream`.

    The state moves on with every batch that is delivered, and only then: after an error, a cancellation or a ``break``
    it is that of the last batch that the caller has seen. Some batches of pictures are read ahead of it, so go on with
    the pictures from ``stream.state().pictures`` on.

    It ends with the task that reads it: when that is cancelled or fails, what runs behind the stream ends too, also
    where somebody keeps the task. Of several tasks that read it, the last one counts; a task that only waits for one
    batch (``asyncio.wait_for(anext(stream), 5)``) is none of them, and may be given up and tried again.
    """

    def __init__(self, owner: Owner, run: Run, report: StreamReport) -> None:
        """Prepare; nothing starts before the first batch is asked for."""
        self.report = report
        """What has happened so far."""
        self._owner = owner
        self._state: AdaptationState | None = None
        self._run = run
        self._queue: asyncio.Queue[Delivered | _End] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._abandoned = False
        maker = _current_task()
        # a strong reference would keep what the task's own traceback holds, this stream among it
        self._maker = None if maker is None else weakref.ref(maker)
        self._readers: set[asyncio.Task[Any]] = set()

    def __aiter__(self) -> Self:
        """Return itself: a stream can be run through once."""
        return self

    async def __anext__(self) -> Scores:
        """Return the next batch's scores.

        Raises:
            FeatureError: the features do not fit this CLIP, or the pictures.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            UsageError: another stream of the same detector is under way, the MLLM cannot be used at all, or the task
                that read this stream was cancelled or has failed.
            StoreError: the response store is damaged, or a replay misses an answer.
        """
        if self._abandoned:
            raise UsageError(
                "this stream has ended with the task that read it; "
                "go on with a new one, with the pictures from stream.state().pictures on"
            )
        if self._ended:
            raise StopAsyncIteration
        if self._task is None:
            self._owner.begin(self)
            self._state = self._owner.state
            self._task = asyncio.create_task(_run_behind(self._run, self._state, self._queue), name="ants-stream")
            self._task.add_done_callback(partial(_tell_closed, self._queue))
            # a stream that is merely dropped must not leave its task behind
            weakref.finalize(self, _cancel, self._task, asyncio.get_running_loop()).atexit = False
        self._read_by(_current_task())
        try:
            delivered = await self._queue.get()
        except BaseException:
            # whoever keeps the traceback must not keep the stream with it
            del self
            raise
        if isinstance(delivered, _End):
            self._ended = True
            # whoever else waits for a batch is told too
            self._queue.put_nowait(_End(None))
            if delivered.error is not None:
                raise delivered.error
            raise StopAsyncIteration
        self._state = delivered.state
        self._owner.adopt(delivered.state)
        self.report.note_batch(delivered.record)
        self._owner.note_batch(delivered.record)
        return delivered.scores

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def active(self) -> bool:
        """Whether it has begun and not ended."""
        return self._task is not None and not self._ended

    def state(self) -> AdaptationState:
        """Return the state after the last batch that was delivered."""
        return self._state or self._owner.state

    def _read_by(self, task: "asyncio.Task[Any] | None") -> None:
        """Note which task reads; when the last one of them breaks off, the stream has nobody left."""
        if task is not None and _waits_once(task):
            task = None if self._maker is None else self._maker()
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return
        if task not in self._readers:
            self._readers.add(task)
            task.add_done_callback(partial(_reader_ended, weakref.ref(self)))

    def left_by(self, task: "asyncio.Task[Any]", broken_off: bool) -> None:
        """Note that a task that read it has ended. Called back by that task."""
        self._readers.discard(task)
        if broken_off and not self._readers and self._task is not None and not self._ended:
            self._ended = self._abandoned = True
            self._task.cancel()

    async def aclose(self) -> None:
        """End the stream; its state stays. May be called twice."""
        self._ended = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _waits_once(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task was made to await one batch, as `asyncio.wait_for` makes one."""
    return getattr(task.get_coro(), "__qualname__", "") in (Stream.__anext__.__qualname__, "_wrap_awaitable")


def _reader_ended(stream: "weakref.ref[Stream]", task: "asyncio.Task[Any]") -> None:
    found = stream()
    if found is None:
        return
    # Task.exception() would count as having looked at the error, and asyncio would no longer report it
    broken_off = task.cancelled() or getattr(task, "_exception", None) is not None
    found.left_by(task, broken_off)


async def _run_behind(run: Run, state: AdaptationState, queue: "asyncio.Queue[Delivered | _End]") -> None:
    try:
        await run(state, queue)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # nobody has closed the stream: it came out of what it uses
        await queue.put(_End(RuntimeError("the iterator of pictures, or the MLLM, was cancelled")))
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        # the program ends, and the loop with it
        raise
    except BaseException as error:
        await queue.put(_End(error))
    else:
        await queue.put(_End(None))


def _tell_closed(queue: "asyncio.Queue[Delivered | _End]", task: "asyncio.Task[None]") -> None:
    """Leave nobody waiting for a batch of a stream that was closed."""
    if task.cancelled():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(_End(None))


def _cancel(task: "asyncio.Task[None]", loop: asyncio.AbstractEventLoop) -> None:
    if not task.done() and not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)
