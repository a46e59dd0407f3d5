"""Single flight: one call per distinct request, within a process and across processes that share a store."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.protocol import Answer

try:
    import fcntl
except ImportError:  # without such locks, processes may ask the same
    fcntl = None  # type: ignore[assignment]

PAID = ("asking", "storing")
"""Phases in which an answer may have been paid for."""
LOCKS = "claims.lock"
FIRST_POLL, LONGEST_POLL = 0.02, 0.25
"""Seconds between two looks whether another process has released a lock."""
_OFFSET_DIGITS = 15
"""Hex digits of a key that name its byte: 60 bits, within the range of file offsets."""
_PRESENCE = 1 << 61
"""Every process that has the store open holds a shared lock on this byte."""


@dataclass(eq=False, slots=True)
class _Flight:
    task: asyncio.Task[Answer]
    progress: RequestProgress
    waiters: list[RequestProgress] = field(default_factory=list)


class SingleFlight:
    """Equal requests that are asked at the same time share one call.

    It stands outside of the store: inside, a request could miss the store just before another's answer is put there,
    and then find that its flight has just ended.
    """

    def __init__(self, inner: Responder, *, finish_detached: bool = False) -> None:
        """Wrap ``inner``.

        Args:
            inner: what is asked.
            finish_detached: a call that is with the backend goes on when nobody waits for it any more, so that its
                answer is stored; see `finish`.
        """
        self._inner = inner
        self._finish_detached = finish_detached
        self._flights: dict[str, _Flight] = {}

    @property
    def in_flight(self) -> int:
        """Calls that have not ended."""
        return len(self._flights)

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer, together with all who ask the same.

        A cancelled waiter leaves the others alone. When the last one leaves, the call is cancelled, unless it may
        finish detached.

        Raises:
            ANTSError: what ``inner`` raises, for all who wait.
        """
        flight = self._flights.get(request.key) or self._start(request)
        flight.waiters.append(progress)
        flight.progress.abandoned = False
        progress.follow(flight.progress)
        try:
            # unlike awaiting the task, this does not cancel it with the waiter
            await asyncio.wait([flight.task])
        finally:
            # by identity
            flight.waiters[:] = [each for each in flight.waiters if each is not progress]
            if not flight.waiters and not flight.task.done():
                await self._abandon(request.key, flight)
        return flight.task.result()

    async def finish(self, grace: float) -> int:
        """Wait for detached calls, at most ``grace`` seconds, then cancel them; return how many were cancelled.

        A cancellation meanwhile cancels them at once.
        """
        tasks = [flight.task for flight in self._flights.values()]
        if not tasks:
            return 0
        late: set[asyncio.Task[Answer]] = set(tasks)
        try:
            _, late = await asyncio.wait(tasks, timeout=grace)
        finally:
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        return len(late)

    async def _abandon(self, key: str, flight: _Flight) -> None:
        if self._finish_detached and flight.progress.phase in PAID:
            flight.progress.abandoned = True
            return
        self._forget(key, flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _start(self, request: Request) -> _Flight:
        waiters: list[RequestProgress] = []

        def tell(progress: RequestProgress) -> None:
            for waiter in waiters:
                waiter.follow(progress)

        def ended(task: asyncio.Task[Answer]) -> None:
            self._forget(request.key, flight)
            if not task.cancelled():
                # marks an error as retrieved: there may be no waiter left
                task.exception()

        progress = RequestProgress(tell)
        task = asyncio.get_running_loop().create_task(self._inner.answer(request, progress))
        flight = self._flights[request.key] = _Flight(task, progress, waiters)
        task.add_done_callback(ended)
        return flight

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class LockedElsewhereError(Exception):
    """Another process is asking this request. Internal to `dispatch`."""


@dataclass(slots=True)
class _File:
    """The lock file, open once in a process: closing any descriptor of it would release all its locks."""

    descriptor: int
    users: int = 0
    owners: dict[str, "RequestLocks"] = field(default_factory=dict)

    def lock(self, kind: int, byte: int) -> None:
        """Lock or unlock one byte without waiting.

        Raises:
            BlockingIOError: another process holds it.
            OSError: the file system has no locks.
        """
        fcntl.lockf(self.descriptor, kind if kind == fcntl.LOCK_UN else kind | fcntl.LOCK_NB, 1, byte)


_OPEN: dict[tuple[int, int], _File] = {}


class RequestLocks:
    """Cross-process request locks: locks on single bytes of an empty file, one byte a key.

    The system holds them, so a killed process releases its locks at once. Where the file system has none, every lock is
    granted, and a request may be asked twice.
    """

    def __init__(self, folder: Path, *, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            folder: the store's.
            patience: seconds after which another process's lock is ignored.
            clock: monotonic, in seconds.
        """
        self._folder = folder
        self._patience = patience
        self._clock = clock
        self._file: _File | None = None
        self._ignored: set[str] = set()
        self._met_others = False

    def open(self) -> None:
        """Open the lock file; where that fails, every lock is granted."""
        if fcntl is None:
            return
        path = self._folder / LOCKS
        try:
            known = _identity(path.lstat()) if path.exists() else (0, 0)
            if known not in _OPEN:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                known = _identity(os.fstat(descriptor))
                _OPEN[known] = _File(descriptor)
            self._file = _OPEN[known]
        except OSError:
            return
        self._file.users += 1
        self._met_others = not self._lock(self._file, fcntl.LOCK_SH, _PRESENCE)

    def close(self) -> None:
        """Release everything. May be called twice."""
        file, self._file = self._file, None
        if file is None:
            return
        for key in [key for key, owner in file.owners.items() if owner is self]:
            self._unlock(file, key)
        file.users -= 1
        if not file.users:
            del _OPEN[_identity(os.fstat(file.descriptor))]
            os.close(file.descriptor)

    def alone(self) -> bool:
        """Tell whether nobody else has been seen to have the store open since this was opened.

        A process that came, asked and left between two looks is missed: a request may then be asked twice.
        """
        file = self._file
        if file is None:
            return False
        if not self._met_others:
            self._met_others = file.users > 1 or not self._lock(file, fcntl.LOCK_EX, _PRESENCE)
            if not self._met_others:
                self._lock(file, fcntl.LOCK_SH, _PRESENCE)
        return not self._met_others

    def take(self, key: str) -> bool:
        """Lock a key; False when another holds it. A key may be taken twice."""
        file = self._file
        if file is None or key in self._ignored:
            return True
        owner = file.owners.get(key)
        if owner is not None:
            return owner is self
        try:
            file.lock(fcntl.LOCK_EX, _byte(key))
        except BlockingIOError:
            return False
        except OSError:
            return True
        file.owners[key] = self
        return True

    def release(self, key: str) -> None:
        """Release a key, if it is ours."""
        self._ignored.discard(key)
        file = self._file
        if file is not None and file.owners.get(key) is self:
            self._unlock(file, key)

    async def take_later(self, key: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Wait until another process releases a key, and take it; ignore its lock after ``patience`` seconds."""
        end = self._clock() + self._patience
        pause = FIRST_POLL
        while not self.take(key):
            if self._clock() >= end:
                self._ignored.add(key)
                return
            await sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)

    def _unlock(self, file: _File, key: str) -> None:
        del file.owners[key]
        self._lock(file, fcntl.LOCK_UN, _byte(key))

    @staticmethod
    def _lock(file: _File, kind: int, byte: int) -> bool:
        try:
            file.lock(kind, byte)
        except OSError:
            return False
        return True


def _byte(key: str) -> int:
    return int(key[:_OFFSET_DIGITS], 16)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
