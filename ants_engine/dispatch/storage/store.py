"""The response store: answers on disk, verified when read, shared by processes."""

import asyncio
import errno
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from ants_engine.dispatch.request import RecordedIdentity, Request
from ants_engine.dispatch.single_flight import FILE as CLAIMS
from ants_engine.dispatch.storage.entry import DamagedLineError, Entry, Failure, key_of, model_line, read_model_line
from ants_engine.dispatch.storage.journal import DAMAGED, DRAFT, INDEX, JOURNAL, LOCK, Journal, ReplacedError
from ants_engine.dispatch.storage.older import carry_over
from ants_engine.errors import BackendError, StoreCorruptedError, StoreError, StoreUnavailableError
from ants_engine.protocol import Answer

OLDER = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal", "open.lock", "damaged")
"""What versions before 0.2 kept here."""
CARRIED = "older"
"""Folder of those, once they have been carried over."""
OWN = {JOURNAL, DRAFT, LOCK, INDEX, DAMAGED, CLAIMS, CARRIED, *OLDER}
"""Names of all that a store's folder holds."""

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


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn what comes from below into errors that say what to do.

    Raises:
        StoreUnavailableError: the store is out of reach for now.
    """
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
    """See that the folder is there, readable by its owner alone, and make it if it may be made.

    Raises:
        StoreUnavailableError: it cannot be made or used, holds other things, or has links where files should be.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not holds_store(folder):
            raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
        found = {each.name for each in folder.iterdir()}
        if JOURNAL not in found and found - OWN:
            raise StoreUnavailableError(
                f"{folder}: holds other files and no response store; name a new or empty folder (dispatch.store)"
            )
        links = [name for name in sorted(OWN) if (folder / name).is_symlink()]
        if links:
            raise StoreUnavailableError(f"{folder}: {links[0]} is a link; a response store has none")
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            # one who only reads may do so where nothing can be changed
            with suppress(*(() if make else (OSError,))):
                folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be opened: {error.strerror}; "
            "see to the folder or name another (dispatch.store)"
        ) from error


def holds_store(folder: Path) -> bool:
    """Tell whether a store is in a folder."""
    return (folder / JOURNAL).exists() or (folder / OLDER[0]).exists()


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


_LOG = logging.getLogger("ants_engine.dispatch")
_WAIT = 60
"""Seconds that another process may hold the store."""
_PAGE = 200


class ResponseStore:
    """Answers by request key, in a folder of its own: a journal with an index. Many processes may have it open.

    What is put is on disk before `put` returns. All disk work is done on one thread of the store's own.
    A damaged line is skipped, with a warning, and counts as missing. If ``strict``, damage is an error, and nothing is
    changed.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """Name the folder; it is opened, and made if need be, by `open`.

        Args:
            folder: where the store is.
            strict: damage raises instead of being passed over (for replay).
        """
        self.folder = folder.absolute()
        self._strict = strict
        self._given_up = False
        self._journal: Journal | None = None
        self._thread: DiskThread | None = None

    async def open(self) -> Self:
        """Open it, making folder and journal if they are not there.

        Raises:
            StoreUnavailableError: the folder cannot be used, a later version made it, or another process holds it.
            StoreCorruptedError: strict, and the journal is damaged.
        """
        self._given_up = False
        thread = DiskThread(self._look_up, self._append)
        try:
            await thread.run(self._open)
        except BaseException:
            # cancelled, perhaps, while the thread waits for the lock
            self._given_up = True
            thread.stop(self._close)
            raise
        self._thread = thread
        return self

    async def reopen(self) -> None:
        """Close and open again, making the folder anew if it is gone: after a `StoreUnavailableError`.

        What waits to be read or written meanwhile is done afterwards. May be called by several at once.

        Raises:
            StoreUnavailableError: it still cannot be used. Reopen it later.
            StoreCorruptedError: strict, and the journal is damaged.
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
                await thread.run(self._close, kind="last")
            finally:
                thread.stop()

    async def __aenter__(self) -> Self:
        """Open."""
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    async def get(self, key: str) -> Entry | None:
        """Look up how a request ended, with every check that there is.

        Raises:
            StoreCorruptedError: if strict: the entry is damaged; or it is missing, and damaged lines may have been it.
            StoreUnavailableError: the folder cannot be read.
        """
        found: Entry | None = await self._opened().look_up(key)
        return found

    async def put(self, request: Request, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns.

        Raises:
            StoreUnavailableError: the folder cannot be written (gone, full, read-only, held by another process).
        """
        await self._opened().write(Entry(request, answer, time.time()))

    async def put_failure(self, request: Request, error: BackendError) -> None:
        """Keep how a request failed, unless it has an answer.

        Raises:
            StoreUnavailableError: the folder cannot be written.
        """
        await self._opened().write(Entry(request, Failure.of(error), time.time()))

    async def put_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity] = ()) -> int:
        """Keep many, all or, when one of them cannot be had, none. A failure replaces no answer.

        Args:
            entries: taken one by one on the store's thread; what it raises leaves the store as it was.
            models: kept as the latest ones; looked at when the entries are through.

        Returns:
            The number of entries taken.

        Raises:
            StoreUnavailableError: the folder cannot be written.
        """

        def take() -> int:
            now = time.time()
            taken = [replace(entry, stored_at=now) for entry in entries]
            self._append([*taken, *models])
            return len(taken)

        return await self._run(take)

    async def entries(self) -> AsyncIterator[Entry]:
        """Go through all entries in the order of their keys.

        Raises:
            StoreCorruptedError: if strict: a line is damaged.
            StoreUnavailableError: the folder cannot be read.
        """
        keys = await self._run(self._all_keys)
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            for found in (await self._run(lambda: self._look_up(page))).values():  # noqa: B023  # awaited
                if isinstance(found, StoreError):
                    raise found
                yield found

    async def remove(self, keys: Sequence[str]) -> int:
        """Write a journal without some entries, and without what later ones have replaced; all or none.

        Returns:
            How many were there.

        Raises:
            StoreUnavailableError: the folder cannot be written, or has no room for the new journal.
        """

        def rewrite() -> int:
            with self._journal_locked() as journal:
                gone = set(keys)
                count = len(gone.intersection(journal.keys()))
                latest = {key: journal.place(key) for key in journal.keys() if key not in gone}  # noqa: SIM118
                if count:
                    journal.rewrite(lambda place, line: (key := key_of(line)) is None or latest.get(key) == place)
                return count

        return await self._run(rewrite)

    async def put_identity(self, recorded: RecordedIdentity) -> None:
        """Keep a model's identity, as the latest of its name.

        Raises:
            StoreUnavailableError: the folder cannot be written.
        """
        if (await self.get_identities())[-1:] != [recorded]:
            await self._opened().write(recorded)

    async def get_identities(self, backend: str | None = None) -> list[RecordedIdentity]:
        """Name the models that were asked, the latest last.

        Args:
            backend: only those of this backend.

        Raises:
            StoreCorruptedError: if strict: one of these lines is damaged.
            StoreUnavailableError: the folder cannot be read.
        """
        recorded = await self._run(self._read_models)
        return [each for each in recorded if backend is None or each.backend == backend]

    async def _run(self, work: Callable[[], T]) -> T:
        def translate() -> T:
            with translated(self.folder):
                return work()

        return await self._opened().run(translate)

    def _opened(self) -> DiskThread:
        if self._thread is None:
            raise self._not_open()
        return self._thread

    def _not_open(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"{self.folder}: the response store is not open")

    # All below runs on the store's thread.

    def open_journal(self) -> Journal:
        """Open the journal for work on all of it. Blocks; the caller closes it.

        Raises:
            StoreUnavailableError: as for `open`.
            StoreCorruptedError: as for `open`.
        """
        with translated(self.folder):
            prepare_folder(self.folder, make=not self._strict)
            journal = Journal(self.folder, strict=self._strict, wait=_WAIT, given_up=lambda: self._given_up)
            journal.open(carry_over(self.folder, journal, strict=self._strict))
        if journal.damaged and not self._strict:
            _LOG.warning("%s: %d damaged lines are passed over", self.folder, len(journal.damaged))
        return journal

    def _open(self) -> None:
        self._journal = self.open_journal()

    def _close(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def _reopen(self) -> None:
        self._close()
        self._open()

    @property
    def _current(self) -> Journal:
        """The journal, with what others have appended.

        Raises:
            StoreUnavailableError: it is not open.
        """
        if self._journal is None:
            raise self._not_open()
        journal, self._journal = self._journal, None
        journal.refresh()
        # only now: where it was replaced and cannot be opened it is closed
        self._journal = journal
        return journal

    def _look_up(self, keys: Sequence[str]) -> dict[str, Entry | StoreError]:
        found: dict[str, Entry | StoreError] = {}
        with translated(self.folder):
            journal = self._current
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
                        _LOG.warning("%s: entry %s… is damaged (%s); passed over", self.folder, key[:12], error)
        return found

    def _damaged(self, what: str) -> StoreCorruptedError:
        return StoreCorruptedError(
            f"{self.folder}: {what}. A replay needs it: restore the store from a copy or a cassette, "
            "or ask again in mode record"
        )

    def _append(self, items: Sequence[Entry | RecordedIdentity]) -> None:
        if self._journal is None:
            raise self._not_open()
        lines = [item.to_line() if isinstance(item, Entry) else model_line(item) for item in items]
        answered = {item.request.key for item in items if isinstance(item, Entry) and isinstance(item.ending, Answer)}
        with self._journal_locked() as journal:
            kept = [
                line
                for item, line in zip(items, lines, strict=True)
                if not isinstance(item, Entry) or not isinstance(item.ending, Failure)
                or (item.request.key not in answered and not _is_answered(journal, item.request.key))
            ]  # fmt: skip
            if kept:
                journal.append(kept)

    @contextmanager
    def _journal_locked(self) -> Iterator[Journal]:
        with translated(self.folder):
            if self._journal is None:
                raise self._not_open()
            # a lock would make a folder that is gone anew
            self._journal.path.stat()
            with self._journal.locked():
                yield self._current

    def _all_keys(self) -> list[str]:
        journal = self._current
        if self._strict and journal.damaged:
            raise self._damaged(f"{len(journal.damaged)} lines are damaged")
        return journal.keys()

    def _read_models(self) -> list[RecordedIdentity]:
        journal = self._current
        found: list[RecordedIdentity] = []
        for place in journal.models:
            try:
                recorded = read_model_line(journal.read(place))
            except DamagedLineError as error:
                if self._strict:
                    raise self._damaged(f"the name of a model is damaged: {error}") from error
                _LOG.warning("%s: the name of a model is damaged (%s); passed over", self.folder, error)
                continue
            found = [each for each in found if each != recorded] + [recorded]
        return found


def _entry(line: bytes, key: str) -> Entry:
    entry = Entry.from_line(line)
    if entry.request.key != key:
        raise DamagedLineError("it is another request's")
    return entry


def _is_answered(journal: Journal, key: str) -> bool:
    line = journal.find(key)
    try:
        return line is not None and isinstance(_entry(line, key).ending, Answer)
    except DamagedLineError:
        return False
