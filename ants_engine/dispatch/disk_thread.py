"""One thread for all disk work of a store; what waits together is done, and committed, together."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    write: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class DiskThread:
    """Runs jobs off the event loop, in order, on one thread. Writes that wait together share one transaction.

    A write is durable when `run` returns. A waiter that is cancelled does not take its write along.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[object]]) -> None:
        """Use ``transaction`` (called on the thread) around each group of writes."""
        self._transaction = transaction
        self._pending: deque[_Job] = deque()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ants-store")

    async def run(self, work: Callable[[], T], *, write: bool = False) -> T:
        """Do ``work`` on the thread and give back what it returned.

        Raises:
            BaseException: what ``work`` raised; for a write also what the transaction raised, in which case none of
                the writes that shared it happened.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, write, loop.create_future())
        self._pending.append(job)
        # With others ahead of it in the queue, a drain is on its way already.
        if len(self._pending) == 1:
            self._executor.submit(self._drain, loop)
        result: T = await job.future
        return result

    def stop(self, last: Callable[[], object] | None = None) -> None:
        """End the thread once its queue is empty and ``last`` is done. It blocks until then."""
        if last is not None:
            self._executor.submit(last)
        self._executor.shutdown(wait=True)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs: list[_Job] = []
        while self._pending:
            jobs.append(self._pending.popleft())
        for job in jobs:
            if not job.write:
                _do(job)
        writes = [job for job in jobs if job.write]
        if writes:
            self._commit(writes)
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, jobs)

    def _commit(self, writes: list[_Job]) -> None:
        try:
            with self._transaction():
                for job in writes:
                    job.result = job.work()
        except BaseException as error:  # it belongs to those who wait
            for job in writes:
                job.error = error


def _do(job: _Job) -> None:
    try:
        job.result = job.work()
    except BaseException as error:  # it belongs to the one who waits
        job.error = error


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
