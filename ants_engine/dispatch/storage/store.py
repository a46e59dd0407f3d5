"""The response store: answers on disk, verified when read, shared by coroutines and processes."""

import asyncio
import errno
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ants_engine.dispatch.request import RecordedIdentity, Request
from ants_engine.dispatch.single_flight import LOCKS
from ants_engine.dispatch.storage.entry import DamagedLineError, Entry, Failure, key_of, model_line, read_model_line
from ants_engine.dispatch.storage.journal import DAMAGED, DRAFT, INDEX, JOURNAL, LOCK, Journal, ReplacedError
from ants_engine.dispatch.storage.older import CARRIED, OLDER, carry_over
from ants_engine.errors import BackendError, StoreCorruptedError, StoreError, StoreUnavailableError
from ants_engine.protocol import Answer

T = TypeVar("T")

OWN = {JOURNAL, DRAFT, LOCK, INDEX, DAMAGED, LOCKS, CARRIED, *OLDER}
"""Names of everything that a store's folder may hold."""
_WAIT = 60
"""Seconds that another process may hold the store."""
_BATCH = 256
"""Lookups and writes that are done before their waiters are told."""
_PAGE = 200
"""Entries that are read at once while going through all of them."""
_WRITABLE = "make the folder and its files writable for this user"
_ADVICE = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space: this user's share of the disk is used up",
    errno.EFBIG: "free some space: this process may write no larger file",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.ENOENT: "put the folder back, or run again, which makes a new one",
}
_LOG = logging.getLogger("ants_engine.dispatch")


class ResponseStore:
    """Answers by request key, in a folder of its own: a journal with an index. Many processes may have it open.

    What is put is on disk when `put` returns. All disk work is done on one thread of the store's own. A damaged line is
    skipped with a warning and counts as missing. If strict, damage raises `StoreCorruptedError`, and nothing is
    changed. Every method raises `StoreUnavailableError` when the folder cannot be read or written.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """Name the folder; `open` opens it and, unless strict (for replay), creates it."""
        self.folder = folder.absolute()
        self._strict = strict
        self._given_up = False
        self._journal: Journal | None = None
        self._thread: DiskThread | None = None

    async def open(self) -> Self:
        """Open it, creating folder and journal when they are missing.

        Raises:
            StoreUnavailableError: the folder cannot be used, a later version wrote it, or another process holds it.
            StoreCorruptedError: strict, and the journal is damaged.
        """
        self._given_up = False
        thread = DiskThread(self._look_up, self._append)
        try:
            await thread.run(self._reopen)
        except BaseException:
            # may be a cancellation while the thread waits for the lock
            self._given_up = True
            thread.stop(self._close)
            raise
        self._thread = thread
        return self

    async def reopen(self) -> None:
        """Close and open again, creating a folder that is gone: after a `StoreUnavailableError`.

        Waiting reads and writes are done afterwards. Several may call it at once.
        """
        if self._thread is None:
            await self.open()
        else:
            await self._thread.run(self._reopen)

    async def aclose(self) -> None:
        """Finish what is being written, and close. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                await thread.run(self._close)
            finally:
                thread.stop(self._close)

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def get(self, key: str) -> Entry | None:
        """Look up how a request ended, fully verified.

        Raises:
            StoreCorruptedError: strict, and the entry is damaged, or missing where damaged lines may have been it.
        """
        found: Entry | None = await self._opened().look_up(key)
        return found

    async def put(self, request: Request, answer: Answer) -> None:
        """Store an answer; it is on disk when this returns."""
        await self._opened().write(Entry(request, answer, time.time()))

    async def put_failure(self, request: Request, error: BackendError) -> None:
        """Store how a request failed, unless it has an answer."""
        await self.keep(Entry(request, Failure.of(error)))

    async def keep(self, entry: Entry) -> None:
        """Store an answer, or a failure unless the request has an answer."""
        await self._opened().write(replace(entry, stored_at=time.time()))

    async def put_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity] = ()) -> int:
        """Store many, all or none. A failure replaces no answer.

        Args:
            entries: taken one by one on the store's thread; what the iterable raises leaves the store unchanged.
            models: stored as the latest ones; read after the entries.

        Returns:
            The number of entries.
        """

        def take() -> int:
            now = time.time()
            taken = [replace(entry, stored_at=now) for entry in entries]
            self._append([*taken, *models])
            return len(taken)

        return await self._run(take)

    async def entries(self) -> AsyncIterator[Entry]:
        """Iterate over all entries in the order of their keys.

        Raises:
            StoreCorruptedError: strict, and a line is damaged.
        """
        keys = await self._run(self._all_keys)
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            for found in (await self._run(lambda: self._look_up(page))).values():  # noqa: B023  # awaited
                if isinstance(found, StoreError):
                    raise found
                yield found

    async def remove(self, keys: Sequence[str]) -> int:
        """Rewrite the journal without some entries and without lines that later ones replace; all or none.

        Returns:
            How many of the entries there were.
        """

        def rewrite() -> int:
            with self._journal_locked() as journal:
                known, gone = journal.keys(), set(keys)
                latest = {key: journal.place(key) for key in known if key not in gone}
                if len(latest) < len(known):
                    journal.rewrite(lambda place, line: (key := key_of(line)) is None or latest.get(key) == place)
                return len(known) - len(latest)

        return await self._run(rewrite)

    async def put_identity(self, recorded: RecordedIdentity) -> None:
        """Store a model's identity as the latest of its name."""
        if (await self.get_identities())[-1:] != [recorded]:
            await self._opened().write(recorded)

    async def get_identities(self) -> list[RecordedIdentity]:
        """Return the models that were asked, the latest last.

        Raises:
            StoreCorruptedError: strict, and one of these lines is damaged.
        """
        return await self._run(self._read_models)

    async def _run(self, work: Callable[[], T]) -> T:
        def translate() -> T:
            with translated(self.folder):
                return work()

        return await self._opened().run(translate)

    def _opened(self) -> "DiskThread":
        if self._thread is None:
            raise self._not_open()
        return self._thread

    def _not_open(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self.folder}: the response store is not open")

    # Everything below runs on the store's thread.

    def open_journal(self) -> Journal:
        """Open the journal for work on all of it. Blocks; the caller closes it. Raises as `open` does."""
        journal = Journal(self.folder, strict=self._strict, wait=_WAIT, given_up=lambda: self._given_up)
        try:
            with translated(self.folder):
                prepare_folder(self.folder, make=not self._strict)
                journal.open(carry_over(self.folder, journal, strict=self._strict))
        except BaseException:
            journal.close()
            raise
        if journal.damaged and not self._strict:
            _LOG.warning("%s: %d damaged lines are skipped", self.folder, len(journal.damaged))
        return journal

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def _reopen(self) -> None:
        self._close()
        self._journal = self.open_journal()

    def _current(self) -> Journal:
        """Return the journal with what others have appended."""
        # where it was replaced and cannot be opened again it stays closed
        if self._journal is None or not self._journal.is_open:
            raise self._not_open()
        self._journal.refresh()
        return self._journal

    @contextmanager
    def _journal_locked(self) -> Iterator[Journal]:
        with translated(self.folder):
            if self._journal is None:
                raise self._not_open()
            with self._journal.locked():
                yield self._current()

    def _look_up(self, keys: Iterable[str]) -> dict[str, Entry | StoreError]:
        found: dict[str, Entry | StoreError] = {}
        with translated(self.folder):
            journal = self._current()
            for key in keys:
                line = journal.find(key)
                try:
                    if line is not None:
                        found[key] = _entry(line, key)
                    elif self._strict and journal.damaged:
                        found[key] = self._damaged(f"{len(journal.damaged)} lines are damaged")
                except DamagedLineError as error:
                    if self._strict:
                        found[key] = self._damaged(f"entry {key[:12]}… is damaged: {error}")
                    else:
                        _LOG.warning("%s: entry %s… is damaged (%s); skipped", self.folder, key[:12], error)
        return found

    def _damaged(self, what: str) -> StoreCorruptedError:
        return StoreCorruptedError(
            f"{self.folder}: {what}. A replay needs it: restore the store from a copy or a cassette, "
            "or ask again in mode record"
        )

    def _append(self, items: Sequence[Entry | RecordedIdentity]) -> None:
        """Write a group of lines; of one key, a failure is left out where there is an answer."""
        lines: list[bytes] = []
        failures: dict[bytes, str] = {}
        answered: set[str] = set()
        for item in items:
            if isinstance(item, RecordedIdentity):
                lines.append(model_line(item))
                continue
            lines.append(item.to_line())
            if isinstance(item.ending, Failure):
                failures[lines[-1]] = item.request.key
            else:
                answered.add(item.request.key)
        with self._journal_locked() as journal:
            if failures:
                answered.update(key for key in failures.values() if key not in answered and _is_answered(journal, key))
                lines = [line for line in lines if failures.get(line) not in answered]
            if lines:
                journal.append(lines)

    def _all_keys(self) -> list[str]:
        journal = self._current()
        if self._strict and journal.damaged:
            raise self._damaged(f"{len(journal.damaged)} lines are damaged")
        return journal.keys()

    def _read_models(self) -> list[RecordedIdentity]:
        journal = self._current()
        found: list[RecordedIdentity] = []
        for place in journal.models:
            try:
                recorded = read_model_line(journal.read(place))
            except DamagedLineError as error:
                if self._strict:
                    raise self._damaged(f"the name of a model is damaged: {error}") from error
                _LOG.warning("%s: the name of a model is damaged (%s); skipped", self.folder, error)
                continue
            found = [each for each in found if each != recorded] + [recorded]
        return found


def _entry(line: bytes, key: str) -> Entry:
    entry = Entry.from_line(line)
    if entry.request.key != key:
        raise DamagedLineError("it belongs to another request")
    return entry


def _is_answered(journal: Journal, key: str) -> bool:
    line = journal.find(key)
    try:
        return line is not None and isinstance(_entry(line, key).ending, Answer)
    except DamagedLineError:
        return False


class DiskThread:
    """Runs disk work on one thread, off the event loop. Group commit: writes that wait together are synced once.

    A write is durable when `write` returns. A cancelled waiter does not cancel its write. Belongs to one event loop.
    """

    def __init__(
        self, look_up: Callable[[Iterable[str]], Mapping[str, Any]], commit: Callable[[Sequence[Any]], None]
    ) -> None:
        """Use these two functions, both called on the thread.

        Args:
            look_up: maps keys to results; an exception is raised for who asked, a missing key is None.
            commit: writes all items, or raises.
        """
        self._look_up = look_up
        self._commit = commit
        self._waiting: deque[tuple[bool, Any, asyncio.Future[Any]]] = deque()
        self._stopped = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ants-store")

    def run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Run ``work`` after everything that waits now, and return its result."""
        if self._waiting:
            self._executor.submit(self._drain, asyncio.get_running_loop())
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def look_up(self, key: str) -> "asyncio.Future[Any]":
        """Look a key up, together with all others that wait."""
        return self._submit(False, key)

    def write(self, item: object) -> "asyncio.Future[Any]":
        """Write an item, together with all others that wait; raise what the commit raised."""
        return self._submit(True, item)

    def stop(self, last: Callable[[], object]) -> None:
        """End the thread when all work and then ``last`` are done. Blocks until then."""
        self._stopped = True
        self._executor.submit(last)
        self._executor.shutdown(wait=True)

    def _submit(self, write: bool, item: object) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((write, item, future))
        # with others in the queue a drain is on its way
        if len(self._waiting) == 1:
            # after this turn of the loop, so that all that is asked for in it is one batch
            loop.call_soon(self._start, loop)
        return future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._stopped:
            self._executor.submit(self._drain, loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        left = len(self._waiting)
        while left > 0:
            batch = [self._waiting.popleft() for _ in range(min(left, _BATCH))]
            left -= len(batch)
            keys = [item for write, item, _ in batch if not write]
            items = [item for write, item, _ in batch if write]
            found = self._done(lambda: self._look_up(dict.fromkeys(keys)), keys)  # noqa: B023  # called at once
            written = self._done(lambda: self._commit(items), items)  # noqa: B023  # called at once
            ends = [
                (future, written if write else found if isinstance(found, BaseException) else found.get(item))
                for write, item, future in batch
            ]
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, ends)
        # what came meanwhile waits behind the work that `run` has queued
        if self._waiting and not self._stopped:
            self._executor.submit(self._drain, loop)

    @staticmethod
    def _done(work: Callable[[], Any], batch: Sequence[Any]) -> Any:
        """Return what a batch comes to: the result, or the exception of everyone who waits for it."""
        try:
            return work() if batch else None
        except BaseException as error:
            return error


def _settle(ends: Sequence[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, end in ends:
        if future.done():
            continue
        if isinstance(end, BaseException):
            future.set_exception(end)
        else:
            future.set_result(end)


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Translate errors of the file system into `StoreUnavailableError`, with advice."""
    try:
        yield
    except ReplacedError as error:
        raise StoreUnavailableError(f"{error}; run again") from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see to the folder and its disk")
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be used: {error.strerror or error}; {advice}, then run again"
        ) from error


def prepare_folder(folder: Path, *, make: bool) -> None:
    """Check that the folder exists and only its owner can read it; create it if ``make``.

    Raises:
        StoreUnavailableError: it cannot be created or used, holds other files, or has links where files should be.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            require_store(folder)
        found = {each.name for each in folder.iterdir()}
        if JOURNAL not in found and found - OWN:
            raise StoreUnavailableError(
                f"{folder}: holds other files and no response store; name a new or empty folder (dispatch.store)"
            )
        links = [name for name in sorted(OWN) if (folder / name).is_symlink()]
        if links:
            raise StoreUnavailableError(f"{folder}: {links[0]} is a link; a response store has none")
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            # a reader may use a folder that it cannot change
            with suppress(*(() if make else (OSError,))):
                folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be opened: {error.strerror}; "
            "see to the folder or name another (dispatch.store)"
        ) from error


def require_store(folder: Path) -> None:
    """Raise `StoreUnavailableError` unless a store is in a folder."""
    if not holds_store(folder):
        raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")


def holds_store(folder: Path) -> bool:
    """Tell whether a store is in a folder."""
    return (folder / JOURNAL).exists() or (folder / OLDER[0]).exists()
