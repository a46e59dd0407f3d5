"""Gather calls that are waiting at the same moment into batches, in one event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from ants_engine.errors import BackendError, UsageError
from ants_engine.protocol import Answer, Call

Outcome: TypeAlias = Answer | BackendError
"""What became of one call of a batch."""

AnswerBatch: TypeAlias = Callable[[Sequence[Call], threading.Event], Awaitable[Sequence[Outcome]]]
"""Answers a batch, one outcome per call in order; the event is set once nobody waits for any of them."""


class Batcher:
    """Turns single calls into batches.

    A batch is taken whenever the one before is done: the call that waited longest, and those behind it that can
    share its batch (pictures and text-only questions apart, same decoding), up to ``size``. Nothing waits for a
    batch to fill. Belongs to the event loop it is first used in.
    """

    def __init__(self, answer_batch: AnswerBatch, size: int) -> None:
        self._answer_batch = answer_batch
        self._size = size
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def submit(self, call: Call) -> Answer:
        """Answer one call as part of a batch.

        Raises:
            BackendError: this call failed.
            UsageError: the batcher was closed while the call was waiting.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="ants-batcher")
        return await future

    async def aclose(self) -> None:
        """Stop the batch in hand and fail what waits. May be called twice."""
        pump = self._pump
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])

    async def _run(self) -> None:
        try:
            # One turn of the loop, so that calls started together are seen together.
            await asyncio.sleep(0)
            while batch := self._take():
                await self._settle(batch)
        finally:
            self._pump = None
            while self._waiting:
                _fail(self._waiting.popleft()[1], _closed())

    def _take(self) -> list[tuple[Call, "asyncio.Future[Answer]"]]:
        batch: list[tuple[Call, asyncio.Future[Answer]]] = []
        left: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        while self._waiting:
            call, future = self._waiting.popleft()
            if future.done():  # cancelled while it waited
                continue
            if len(batch) < self._size and (not batch or _kind(call) == _kind(batch[0][0])):
                batch.append((call, future))
            else:
                left.append((call, future))
        self._waiting = left
        return batch

    async def _settle(self, batch: list[tuple[Call, "asyncio.Future[Answer]"]]) -> None:
        futures = [future for _, future in batch]
        abandoned = threading.Event()

        def notice(_: "asyncio.Future[Answer]") -> None:
            if all(future.cancelled() for future in futures):
                abandoned.set()

        for future in futures:
            future.add_done_callback(notice)
        try:
            outcomes = await self._answer_batch([call for call, _ in batch], abandoned)
        except asyncio.CancelledError:
            abandoned.set()
            for future in futures:
                _fail(future, _closed())
            raise
        except Exception as error:  # whatever it is, every caller of the batch has to hear of it
            for future in futures:
                _fail(future, error)
            return
        for future, outcome in zip(futures, outcomes, strict=True):
            if isinstance(outcome, Answer):
                if not future.done():
                    future.set_result(outcome)
            else:
                _fail(future, outcome)


def _kind(call: Call) -> object:
    return call.picture is None, call.decoding


def _closed() -> UsageError:
    return UsageError("the backend was closed before it answered")


def _fail(future: "asyncio.Future[Answer]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
