"""Mode ``record``: looks requests up before asking, and stores answers before anyone sees them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.dispatch.single_flight import LockedElsewhereError, RequestLocks
from ants_engine.dispatch.storage.cassette import rescue
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import BackendError, StoreError, StoreUnavailableError, TransientBackendError
from ants_engine.protocol import Answer

T = TypeVar("T")

_LOG = logging.getLogger("ants_engine.dispatch")

FIRST_REOPEN, LONGEST_REOPEN = 0.5, 10.0
"""Seconds between two attempts to reopen the store; doubled each time."""


class PatientStore:
    """A response store that waits out faults: while it cannot be used, requests wait and answers stay in memory.

    After ``patience`` seconds it gives up: answers in memory go to a rescue file, and all requests fail from then on,
    since their answers could not be stored.
    """

    def __init__(
        self,
        store: ResponseStore,
        *,
        patience: float,
        observer: Observer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use an open store, which the caller closes after `aclose`."""
        self._store = store
        self._patience = patience
        self._observer = observer
        self._sleep = sleep
        self._clock = clock
        self._turn = asyncio.Lock()
        self._held: dict[str, Entry] = {}
        self._broken: StoreError | None = None

    def check(self) -> None:
        """Check that answers can be stored.

        Raises:
            StoreError: the store was given up.
        """
        if self._broken is not None:
            # a new one each time: a raised error collects tracebacks
            raise type(self._broken)(str(self._broken)) from self._broken

    async def get(self, key: str) -> Entry | None:
        """Look up how a request ended.

        Raises:
            StoreError: the store cannot be read, and did not come back in time.
        """
        return await self._patiently(lambda: self._store.get(key))

    async def keep(self, entry: Entry) -> None:
        """Store how a request ended; it is on disk when this returns.

        Raises:
            StoreError: the store cannot be written, and did not come back in time. The entry is in the rescue file.
        """
        self._held[entry.request.key] = entry
        await self._patiently(lambda: self._store.keep(entry))
        self._held.pop(entry.request.key, None)

    async def aclose(self) -> None:
        """Write what is still in memory, to the store or to a rescue file."""
        entries, self._held = list(self._held.values()), {}
        if not entries:
            return
        try:
            for entry in entries:
                await self._store.keep(entry)
        except StoreError as error:
            await self._save(entries, error)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        self.check()
        try:
            return await work()
        except StoreUnavailableError as error:
            return await self._outlast(work, error)
        except StoreError as error:
            await self._give_up(error)
            raise

    async def _outlast(self, work: Callable[[], Awaitable[T]], error: StoreError) -> T:
        async with self._turn:
            self.check()
            began, pause, told = self._clock(), FIRST_REOPEN, False
            while True:
                try:
                    # the store may be usable again by now
                    result = await work()
                except StoreUnavailableError as again:
                    error = again
                else:
                    if told:
                        self._observer.event("store_back", seconds=round(self._clock() - began, 1))
                        _LOG.warning("%s: the response store can be used again", self._store.folder)
                    return result
                if self._clock() - began >= self._patience:
                    break
                if not told:
                    told = True
                    self._observer.event("store_unavailable", error=str(error))
                    _LOG.warning("%s; answers are held in memory, trying for %g s", error, self._patience)
                await self._sleep(pause)
                pause = min(2 * pause, LONGEST_REOPEN)
                try:
                    await self._store.reopen()
                except StoreError as again:
                    error = again
            await self._give_up(error)
            raise error

    async def _give_up(self, error: StoreError) -> None:
        self._broken = error
        entries, self._held = list(self._held.values()), {}
        if entries:
            await self._save(entries, error)

    async def _save(self, entries: list[Entry], error: StoreError) -> None:
        try:
            path = await rescue(entries, self._store.folder)
        except StoreError as worse:
            error.add_note(f"{len(entries)} answers could not be saved anywhere: {worse}")
            _LOG.error("%d answers could not be saved anywhere: %s", len(entries), worse)
            return
        advice = f"{len(entries)} answers that could not be stored are in {path}; run: ants store import {path}"
        error.add_note(advice)
        _LOG.error("%s", advice)
        self._observer.event("rescued", answers=len(entries), file=str(path))


class LookupResponder:
    """Answers from the store if it can. It stands outside of the gate: stored answers need no permit.

    When another process is asking the same, it waits for that process and looks again.
    """

    def __init__(self, inner: Responder, store: PatientStore, locks: RequestLocks) -> None:
        """Look into ``store`` before asking ``inner``."""
        self._inner = inner
        self._store = store
        self._locks = locks

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer from the store, or ask. A stored failure is asked again.

        Raises:
            StoreError: the store cannot be read.
            ANTSError: what ``inner`` raises.
        """
        try:
            while True:
                answer = await stored_answer(self._store, request, progress)
                if answer is not None:
                    return answer
                try:
                    return await self._inner.answer(request, progress)
                except LockedElsewhereError:
                    progress.update(phase="sharing")
                    await self._locks.take_later(request.key)
                    progress.update(phase="waiting")
        finally:
            self._locks.release(request.key)


class LockResponder:
    """Asks only what no other process is asking, and what none has answered since the lookup.

    It stands inside of the gate, so that a process locks no more requests than it can ask.
    """

    def __init__(self, inner: Responder, store: PatientStore, locks: RequestLocks) -> None:
        """Lock before ``inner`` is asked; `LookupResponder` releases."""
        self._inner = inner
        self._store = store
        self._locks = locks

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Ask, unless another process does or did.

        Raises:
            LockedElsewhereError: another process is asking.
            ANTSError: what ``inner`` raises.
        """
        if not progress.attempts:
            if not self._locks.take(request.key):
                raise LockedElsewhereError
            # without other processes nobody can have answered it since
            answer = None if self._locks.alone() else await stored_answer(self._store, request, progress)
            if answer is not None:
                return answer
        return await self._inner.answer(request, progress)


class KeepResponder:
    """Stores every answer before anyone sees it, and every failure that a retry would not mend.

    It stands inside of the gate, which bounds the answers that are paid for and not yet on disk.
    """

    def __init__(self, inner: Responder, store: PatientStore) -> None:
        """Keep what ``inner`` answers in ``store``."""
        self._inner = inner
        self._store = store

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Ask, and store the answer.

        Raises:
            StoreError: the store cannot be written. Nothing more is asked then, since answers would be lost.
            ANTSError: what ``inner`` raises.
        """
        self._store.check()
        try:
            answer = await self._inner.answer(request, progress)
        except BackendError as error:
            if not isinstance(error, TransientBackendError):
                # before the permit is released, so that a common cause stops further requests
                await self._store.keep(Entry(request, Failure.of(error)))
                progress.kept = True
            raise
        progress.update(phase="storing")
        try:
            await self._store.keep(Entry(request, answer))
        finally:
            progress.update(phase="waiting")
        return answer


class KeepFailureResponder:
    """Stores how a request failed in the end, so that a replay ends as the run did."""

    def __init__(self, inner: Responder, store: PatientStore) -> None:
        """Keep how ``inner`` fails in ``store``."""
        self._inner = inner
        self._store = store

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Ask, and store the failure.

        Raises:
            ANTSError: what ``inner`` raises, or the store's error.
        """
        try:
            return await self._inner.answer(request, progress)
        except BackendError as error:
            if not progress.kept:
                await self._store.keep(Entry(request, Failure.of(error)))
            raise


async def stored_answer(store: PatientStore, request: Request, progress: RequestProgress) -> Answer | None:
    """Return the stored answer, and note in ``progress`` where it came from."""
    entry = await store.get(request.key)
    if entry is None or isinstance(entry.ending, Failure):
        return None
    progress.update(source="store")
    return entry.ending
