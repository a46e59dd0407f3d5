"""One thread for all disk work of a store; what waits together is looked up, and committed, together."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Kind = Literal["read", "look up", "write", "last"]
_TOGETHER = 256
"""Jobs that are done before those who wait for them are told."""


@dataclass(slots=True)
class _Job:
    kind: Kind
    work: Any
    """A function without arguments; of a lookup, the key; of a write, what is written."""
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class DiskThread:
    """Runs jobs off the event loop, in order, on one thread. Writes that wait together are one commit.

    A write is durable when `write` returns. A waiter that is cancelled does not take its write along.
    """

    def __init__(
        self, look_up: Callable[[Sequence[str]], Mapping[str, Any]], commit: Callable[[Sequence[Any]], None]
    ) -> None:
        """Use these two, both called on the thread.

        Args:
            look_up: finds what belongs to each of the keys that wait together; what is an exception is raised for
                those who asked for it, and what is left out is None.
            commit: writes all of these, or raises.
        """
        self._look_up = look_up
        self._commit = commit
        self._pending: deque[_Job] = deque()
        self._stopped = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ants-store")

    async def run(self, work: Callable[[], T], *, kind: Kind = "read") -> T:
        """Do ``work`` on the thread and give back what it returned, or raised.

        Args:
            work: what to do.
            kind: of what waits together, reads are done first and what is ``last`` after all else.
        """
        result: T = await self._submit(kind, work)
        return result

    async def look_up(self, key: str) -> Any:
        """Look a key up, together with all that wait for theirs; raise what was found in its place."""
        return await self._submit("look up", key)

    async def write(self, what: object) -> None:
        """Write, together with all that wait; raise what the commit raised."""
        await self._submit("write", what)

    def stop(self, last: Callable[[], object] | None = None) -> None:
        """End the thread once its queue is empty and ``last`` is done. It blocks until then."""
        self._stopped = True
        if last is not None:
            self._executor.submit(last)
        self._executor.shutdown(wait=True)

    def _submit(self, kind: Kind, work: object) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        job = _Job(kind, work, loop.create_future())
        self._pending.append(job)
        # With others ahead of it in the queue, a drain is on its way already.
        if len(self._pending) == 1:
            # Once this turn of the loop is over: what else is asked for in it is done together with this, and the
            # thread does not fight for the interpreter with whoever is still asking.
            loop.call_soon(self._start, loop)
        return job.future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._stopped:
            self._executor.submit(self._drain, loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._pending:
            jobs: list[_Job] = []
            while self._pending and len(jobs) < _TOGETHER:
                jobs.append(self._pending.popleft())
            of_kind = {kind: [job for job in jobs if job.kind == kind] for kind in ("look up", "write")}
            self._do_each(jobs, "read")
            _together(of_kind["look up"], lambda keys: self._look_up(list(dict.fromkeys(keys))))
            _together(of_kind["write"], self._commit)
            self._do_each(jobs, "last")
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, jobs)

    @staticmethod
    def _do_each(jobs: list[_Job], kind: Kind) -> None:
        for job in jobs:
            if job.kind == kind:
                try:
                    job.result = job.work()
                except BaseException as error:  # it belongs to the one who waits
                    job.error = error


def _together(jobs: list[_Job], work: Callable[[list[Any]], Any]) -> None:
    """Do one piece of work for all of these; what it raises belongs to each who waits."""
    if not jobs:
        return
    try:
        found = work([job.work for job in jobs]) or {}
    except BaseException as error:
        for job in jobs:
            job.error = error
        return
    for job in jobs:
        result = found.get(job.work) if found else None
        if isinstance(result, BaseException):
            job.error = result
        else:
            job.result = result


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
