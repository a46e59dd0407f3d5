"""The response store of a run that must lose nothing: what cannot be kept now is kept as soon as it can be."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import StoreError, StoreUnavailableError

T = TypeVar("T")

_LOG = logging.getLogger("ants_engine.dispatch")
FIRST_LOOK, LONGEST_LOOK = 0.5, 10.0
"""Seconds between two tries to use the store again."""


class PatientStore:
    """Reads and writes a store; while it cannot be used, those who need it wait, and their answers stay in memory.

    After ``patience`` seconds it gives up: what is in memory is written to a rescue file, and everyone is told. From
    then on nothing more is asked, since it could not be kept.
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
        """See that an answer could be kept.

        Raises:
            StoreError: it could not; the store was given up.
        """
        if self._broken is not None:
            # A fresh one each time: a raised error collects the frames that it passes.
            raise type(self._broken)(str(self._broken)) from self._broken

    async def get(self, key: str) -> Entry | None:
        """Look up how a request ended.

        Raises:
            StoreError: the store cannot be read, and did not come back in time.
        """
        return await self._patiently(lambda: self._store.get(key))

    async def keep(self, entry: Entry) -> None:
        """Keep how a request ended; it is on disk when this returns.

        Raises:
            StoreError: the store cannot be written, and did not come back in time. The entry is in the rescue file.
        """
        self._held[entry.request.key] = entry
        await self._patiently(lambda: self._put(entry))
        self._held.pop(entry.request.key, None)

    async def aclose(self) -> None:
        """Write what is still held: to the store, or to a rescue file."""
        entries, self._held = list(self._held.values()), {}
        if not entries:
            return
        try:
            for entry in entries:
                await self._put(entry)
        except StoreError as error:
            await self._save(entries, error)

    async def _put(self, entry: Entry) -> None:
        if isinstance(entry.ending, Failure):
            await self._store.put_failure(entry.request, entry.ending.error())
        else:
            await self._store.put(entry.request, entry.ending)

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
            began, pause, told = self._clock(), FIRST_LOOK, False
            while True:
                try:
                    # Whoever waited for its turn may find the store in order again.
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
                pause = min(2 * pause, LONGEST_LOOK)
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
        from ants_engine.dispatch.storage.cassette import rescue

        try:
            path = await rescue(entries, self._store.folder)
        except StoreError as worse:
            error.add_note(f"{len(entries)} answers could not be kept anywhere: {worse}")
            _LOG.error("%d answers could not be kept anywhere: %s", len(entries), worse)
            return
        word = f"{len(entries)} answers that could not be kept are in {path}; bring them in: ants cache import {path}"
        error.add_note(word)
        _LOG.error("%s", word)
        self._observer.event("rescued", answers=len(entries), file=str(path))
