"""Single flight: one call per distinct request, within a process and across processes that share a store."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.protocol import Answer

UNDER_WAY = ("asking", "storing")
"""Phases in which an answer may have been paid for."""


@dataclass(eq=False, slots=True)
class _Flight:
    task: asyncio.Task[Answer]
    trace: RequestProgress
    passengers: list[RequestProgress] = field(default_factory=list)


class SingleFlight:
    """Lets equal requests that are asked at the same time share one answer.

    It stands outside of the store: inside, a request could miss the store just before another's answer is put there,
    and find that one's flight landed just after.
    """

    def __init__(self, inner: Responder, *, finish_detached: bool = False) -> None:
        """Wrap ``inner``.

        Args:
            inner: what is asked.
            finish_detached: a call that is with the backend goes on when nobody waits for it any more, so that its
                answer is kept; see `land`.
        """
        self._inner = inner
        self._finish_detached = finish_detached
        self._flights: dict[str, _Flight] = {}

    @property
    def under_way(self) -> int:
        """Calls that have not ended."""
        return len(self._flights)

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer, together with whoever asks the same.

        One who is cancelled leaves the others alone; when the last one leaves, the call is cancelled, unless it may
        land alone.

        Raises:
            ANTSError: what ``inner`` raises, for all who wait.
        """
        flight = self._flights.get(request.key) or self._take_off(request)
        flight.passengers.append(trace)
        flight.trace.abandoned = False
        trace.follow(flight.trace)
        try:
            # Unlike awaiting the task itself, this leaves it alone when the one who waits is cancelled.
            await asyncio.wait([flight.task])
        finally:
            # By identity: several passengers may look alike.
            flight.passengers[:] = [each for each in flight.passengers if each is not trace]
            if not flight.passengers and not flight.task.done():
                await self._abandon(request.key, flight)
        return flight.task.result()

    async def land(self, grace: float) -> int:
        """Wait for the calls that nobody waits for, at most ``grace`` seconds, then end them; return how many it ended.

        A cancellation meanwhile ends them at once.
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
        if self._finish_detached and flight.trace.phase in UNDER_WAY:
            flight.trace.abandoned = True
            return
        self._forget(key, flight)
        flight.task.cancel()
        await asyncio.wait([flight.task])

    def _take_off(self, request: Request) -> _Flight:
        passengers: list[RequestProgress] = []

        def tell(trace: RequestProgress) -> None:
            for passenger in passengers:
                passenger.follow(trace)

        trace = RequestProgress(tell)
        task = asyncio.get_running_loop().create_task(self._inner.answer(request, trace))
        flight = _Flight(task, trace, passengers)
        self._flights[request.key] = flight
        task.add_done_callback(lambda _: self._land(request.key, flight))
        return flight

    def _land(self, key: str, flight: _Flight) -> None:
        self._forget(key, flight)
        if not flight.task.cancelled():
            # Marks an error as seen: when everybody has left, nobody will look at it.
            flight.task.exception()

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


try:
    import fcntl
except ImportError:  # no such locks on this system: processes may ask the same
    fcntl = None  # type: ignore[assignment]

LOCKS = "claims.lock"
FIRST_LOOK, LONGEST_LOOK = 0.02, 0.25
"""Seconds between two looks whether another process is done."""
_OFFSET_DIGITS = 15
"""Hex digits of a key that name its byte: 60 bits, within what a file offset may be."""
_PRESENCE = 1 << 61
"""The byte that every process with the store open shares a lock on: who could have it alone is alone."""


class ClaimedElsewhereError(Exception):
    """Another process is asking this at the moment. Never seen outside of `dispatch`."""


@dataclass(slots=True)
class _File:
    """The lock file, open once in a process: closing any descriptor of it would let go of all its locks."""

    descriptor: int
    users: int = 0
    owners: dict[str, "Claims"] = field(default_factory=dict)


_OPEN: dict[tuple[int, int], _File] = {}


class Claims:
    """Locks on single bytes of a file, one byte a key.

    The system holds them: what a killed process had claimed is free again at once. The file itself stays empty.
    """

    def __init__(self, folder: Path, *, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare.

        Args:
            folder: the store's.
            patience: seconds after which another process's claim is not believed any more.
            clock: seconds that only grow.
        """
        self._folder = folder
        self._patience = patience
        self._clock = clock
        self._file: _File | None = None
        self._id = (0, 0)
        self._disbelieved: set[str] = set()
        self._met_others = False

    def open(self) -> None:
        """Open the lock file. Where that cannot be, claims are given to everyone: answers may be asked for twice."""
        if fcntl is None:
            return
        path = self._folder / LOCKS
        try:
            if (known := _known(path)) is None:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                found = os.fstat(descriptor)
                known = (found.st_dev, found.st_ino)
                _OPEN[known] = _File(descriptor)
        except OSError:
            return
        self._id, self._file = known, _OPEN[known]
        self._file.users += 1
        self._met_others = not self._lock_presence(fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        file, self._file = self._file, None
        if file is None:
            return
        for key in [key for key, owner in file.owners.items() if owner is self]:
            self._unlock(file, key)
        file.users -= 1
        if not file.users:
            del _OPEN[self._id]
            os.close(file.descriptor)

    def alone(self) -> bool:
        """Tell whether nobody else has had the store open since this was opened, as far as one can see.

        One who came, asked and left between two looks is missed: what it asked may be asked for once more.
        """
        file = self._file
        if file is None:
            return False
        if not self._met_others:
            self._met_others = file.users > 1 or not self._lock_presence(fcntl.LOCK_EX)
            if not self._met_others:
                self._lock_presence(fcntl.LOCK_SH)
        return not self._met_others

    def _lock_presence(self, kind: int) -> bool:
        file = self._file
        try:
            if file is not None:
                fcntl.lockf(file.descriptor, kind | fcntl.LOCK_NB, 1, _PRESENCE)
        except OSError:
            return False
        return True

    def take(self, key: str) -> bool:
        """Claim a key, or find that it is claimed by another. Taking what one has is no mistake."""
        file = self._file
        if file is None or key in self._disbelieved:
            return True
        owner = file.owners.get(key)
        if owner is not None:
            return owner is self
        try:
            fcntl.lockf(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(key[:_OFFSET_DIGITS], 16))
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: nobody can claim anything, so everybody may ask.
            return True
        file.owners[key] = self
        return True

    def release(self, key: str) -> None:
        """Give a key free, if it is ours."""
        self._disbelieved.discard(key)
        file = self._file
        if file is not None and file.owners.get(key) is self:
            self._unlock(file, key)

    async def freed(self, key: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Wait until the other process is done with a key, and take it; or until that takes too long."""
        end = self._clock() + self._patience
        pause = FIRST_LOOK
        while not self.take(key):
            if self._clock() >= end:
                self._disbelieved.add(key)
                return
            await sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.5)

    def _unlock(self, file: _File, key: str) -> None:
        del file.owners[key]
        try:
            fcntl.lockf(file.descriptor, fcntl.LOCK_UN, 1, int(key[:_OFFSET_DIGITS], 16))
        except OSError:
            return


def _known(path: Path) -> tuple[int, int] | None:
    """Look whether this process has the file open already: opening and closing it once more would lose its locks."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    identity = (found.st_dev, found.st_ino)
    return identity if identity in _OPEN else None
