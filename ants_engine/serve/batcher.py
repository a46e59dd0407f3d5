"""What several requests want of CLIP at about the same time, gathered into one call."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Generic, TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


class Batcher(Generic[Input, Output]):
    """A queue in front of a function that takes many at once, and a task that empties it.

    While a call runs, what arrives makes up the next one. An idle one begins at once, unless more is known to come.
    """

    def __init__(
        self, run: Callable[[list[Input]], Sequence[Output]], executor: Executor, size: int, wait: float
    ) -> None:
        """Prepare; `start` starts the task.

        Args:
            run: called in the executor with 1 to ``size`` inputs; returns as many outputs.
            executor: where.
            size: inputs of one call at most.
            wait: seconds that the first one waits for those that are known to come.
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
        """End; what waits is not answered any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for _, future in self._ready:
            future.cancel()

    def expect(self, count: int) -> None:
        """Say that so many more will be submitted, or (negative) will not."""
        self._coming += count
        self._changed.set()

    def submit(self, item: Input) -> "asyncio.Future[Output]":
        """Queue an input; a future that is cancelled before its call costs nothing."""
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
