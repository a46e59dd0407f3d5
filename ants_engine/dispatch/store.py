"""The response store: answers on disk, verified when read, shared by processes."""

import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import diskcache
from filelock import FileLock
from filelock import Timeout as LockTimeout

from ants_engine.dispatch.canonical import canonical, digest
from ants_engine.dispatch.disk_thread import DiskThread
from ants_engine.dispatch.entry import DamagedEntryError, Entry, Failure, NewerEntryError, seal, unseal
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.quarantine import Quarantine
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.safe_disk import RefusedRowError, SafeDisk
from ants_engine.dispatch.store_folder import DATABASE, LOCK, check_database, prepare_folder
from ants_engine.errors import BackendError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer

T = TypeVar("T")

_LOG = logging.getLogger("ants_engine.dispatch")
_WAIT = 60
"""Seconds that another process may hold the store."""
_PAGE = 200
_IDENTITIES = digest(canonical("identities"))
"""The one row that holds the models' identities."""
_SETTINGS = {
    # Without these diskcache forgets the oldest answers beyond 1 GiB.
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_journal_mode": "wal",
    # FULL: a commit is on the disk, not only with the operating system, so that a power cut takes no answer.
    "sqlite_synchronous": 2,
}
_UNREADABLE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT)


class ResponseStore:
    """Answers by request key, in a folder of its own. Many processes may have it open.

    What is put is on disk before `put` returns. All disk work is done on one thread of the store's own.
    A damaged entry is moved aside and counts as missing, or, if ``strict``, is an error.
    """

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """Name the folder; it is opened, and made if need be, by `open`.

        Args:
            folder: where the store is.
            strict: damaged entries raise instead of being moved aside (for replay).
        """
        self.folder = folder.absolute()
        self._strict = strict
        self._cache: Any = None
        self._inode = 0
        self._abandoned = False
        self._quarantine = Quarantine(self.folder / DATABASE)
        self._thread: DiskThread | None = None

    async def open(self) -> Self:
        """Open it, making folder and database if they are not there.

        Raises:
            StoreUnavailableError: the folder cannot be used, or another process holds it for a minute.
            StoreCorruptedError: what is there is no store, or a damaged one.
        """
        thread = DiskThread(self._transaction)
        self._abandoned = False
        try:
            await thread.run(self._open)
        except BaseException:
            # Cancelled, perhaps, while the thread waits for the lock.
            self._abandoned = True
            thread.stop(self._close)
            raise
        self._thread = thread
        return self

    async def aclose(self) -> None:
        """Finish what is being written, and close. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                await thread.run(self._close)
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
            StoreCorruptedError: the database is damaged, or, if strict, the entry.
            StoreUnavailableError: the folder cannot be read, or a later version wrote the entry.
        """
        return await self._run(lambda: self._read(key))

    async def put(self, request: Request, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns.

        Raises:
            StoreUnavailableError: the folder cannot be written (gone, full, read-only, held by another process).
            StoreCorruptedError: the database is damaged.
        """
        data = Entry(request, answer).to_bytes()
        await self._run(lambda: self._cache.set(request.key, data), write=True)

    async def put_failure(self, request: Request, error: BackendError) -> None:
        """Keep how a request failed, unless it has an answer.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged.
        """
        entry = Entry(request, Failure.of(error))
        await self._run(lambda: self._write_unless_answered(entry), write=True)

    async def put_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity] = ()) -> int:
        """Keep many in one transaction, all or none. An answer replaces what is there, a failure no answer.

        Args:
            entries: taken one by one on the store's thread; what it raises takes everything back.
            models: kept as the latest ones; looked at when the entries are through.

        Returns:
            The number of entries taken.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database, or an entry that would be replaced, is damaged.
        """
        return await self._run(lambda: self._write_all(entries, models))

    async def entries(self) -> AsyncIterator[Entry]:
        """Go through all entries in the order of their keys.

        Raises:
            StoreCorruptedError: the database is damaged, or, if strict, an entry.
            StoreUnavailableError: the folder cannot be read, or a later version wrote an entry.
        """
        await self._run(self._check_strays)
        keys = await self._run(lambda: iter(self._cache.iterkeys()))
        while page := await self._run(lambda: self._page(keys)):
            for entry in page:
                if entry is not None:
                    yield entry

    async def put_identity(self, recorded: RecordedIdentity) -> None:
        """Keep a model's identity, as the latest of its name.

        Raises:
            StoreUnavailableError: the folder cannot be written.
            StoreCorruptedError: the database is damaged.
        """
        if (await self.get_identities())[-1:] != [recorded]:
            await self._run(lambda: self._add_identities([recorded]), write=True)

    async def get_identities(self, backend: str | None = None) -> list[RecordedIdentity]:
        """Name the models that were asked, the latest last.

        Args:
            backend: only those of this backend.

        Raises:
            StoreCorruptedError: the database is damaged, or, if strict, this list.
            StoreUnavailableError: the folder cannot be read.
        """
        recorded = await self._run(self._read_identities)
        return [each for each in recorded if backend is None or each.backend == backend]

    async def quarantined(self) -> int:
        """Count the damaged rows that were moved aside, ever.

        Raises:
            StoreCorruptedError: the database is damaged.
            StoreUnavailableError: the folder cannot be read.
        """
        return await self._run(self._quarantine.count)

    async def _run(self, work: Callable[[], T], *, write: bool = False) -> T:
        if self._thread is None:
            raise StoreUnavailableError(f"{self.folder}: the response store is not open")
        return await self._thread.run(lambda: self._translated(work), write=write)

    # All below runs on the store's thread.

    def _open(self) -> None:
        with self._translate():
            prepare_folder(self.folder, make=not self._strict)
            try:
                # diskcache's own set-up is not safe when several processes do it at once.
                with self._locked():
                    check_database(self.folder)
                    self._cache = diskcache.Cache(str(self.folder), timeout=_WAIT, disk=SafeDisk, **_SETTINGS)
            except (ValueError, TypeError, AttributeError) as error:
                raise StoreCorruptedError(
                    f"{self.folder}: the response store's database is not as it was made: {error}; move the folder away"
                ) from error
            self._inode = (self.folder / DATABASE).stat().st_ino

    def _close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.folder / LOCK, mode=0o600)
        end = time.monotonic() + _WAIT
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.2)
            except LockTimeout as error:
                if self._abandoned or time.monotonic() >= end:
                    raise StoreUnavailableError(
                        f"{self.folder}: another process has been opening the response store for {_WAIT} s; end it"
                    ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translate():
            # SQLite goes on writing into a deleted file without a word.
            if (self.folder / DATABASE).stat().st_ino != self._inode:
                raise StoreUnavailableError(f"{self.folder}: the response store was replaced while it was open")
            with self._cache.transact():
                yield

    def _translated(self, work: Callable[[], T]) -> T:
        with self._translate():
            return work()

    def _translate(self) -> AbstractContextManager[None]:
        return _translate(self.folder)

    def _read(self, key: str) -> Entry | None:
        data = self._fetch(key)
        return None if data is None else self._parse(key, data)

    def _fetch(self, key: str) -> bytes | None:
        try:
            data: bytes | None = self._cache.get(key)
        except RefusedRowError as error:
            self._set_aside(key, str(error))
            return None
        except sqlite3.OperationalError as error:
            # A text that is no UTF-8 fails inside of sqlite3, and concerns this row only.
            if "decode" not in str(error):
                raise
            self._set_aside(key, "not text")
            return None
        return data

    def _parse(self, key: str, data: bytes) -> Entry | None:
        try:
            return Entry.from_bytes(data, key)
        except NewerEntryError as error:
            raise StoreUnavailableError(f"{self.folder}: entry {key[:12]}… is of {error}") from error
        except DamagedEntryError as error:
            self._set_aside(key, str(error))
            return None

    def _set_aside(self, key: str, reason: str) -> None:
        if self._strict:
            raise StoreCorruptedError(
                f"{self.folder}: entry {key[:12]}… is damaged: {reason}. A replay needs it: "
                "restore the store from a copy or a cassette, or ask again in mode record"
            )
        self._quarantine.move(key, reason)
        _LOG.warning("%s: entry %s… is damaged (%s); moved aside, and asked again", self.folder, key[:12], reason)

    def _write_unless_answered(self, entry: Entry) -> bool | None:
        """Write, unless a failure would replace an answer (False), or what is there is damaged (None)."""
        try:
            data = self._cache.get(entry.request.key)
            present = None if data is None else Entry.from_bytes(data, entry.request.key)
        except (RefusedRowError, DamagedEntryError, NewerEntryError):
            return None
        if present is not None and isinstance(present.ending, Answer) and isinstance(entry.ending, Failure):
            return False
        self._cache.set(entry.request.key, entry.to_bytes())
        return True

    def _write_all(self, entries: Iterable[Entry], models: Iterable[RecordedIdentity]) -> int:
        # Not in the transaction that puts share: what entries raises must not reach them.
        count = 0
        with self._transaction():
            for count, entry in enumerate(entries, 1):  # noqa: B007  # the last count is what is returned
                if self._write_unless_answered(entry) is None:
                    raise StoreCorruptedError(
                        f"{self.folder}: entry {entry.request.key[:12]}… is damaged; "
                        "run once in mode record, which moves it aside"
                    )
            self._add_identities(list(models))
        return count

    def _check_strays(self) -> None:
        if not self._strict:
            if moved := self._quarantine.move_strays() if self._quarantine.strays() else 0:
                _LOG.warning("%s: %d rows with damaged keys were moved aside", self.folder, moved)
        elif strays := self._quarantine.strays():
            raise StoreCorruptedError(f"{self.folder}: {strays} rows have damaged keys; restore the store from a copy")

    def _page(self, keys: Iterator[str]) -> list[Entry | None]:
        return [self._read(key) if key != _IDENTITIES else None for key in islice(keys, _PAGE)]

    def _read_identities(self) -> list[RecordedIdentity]:
        data = self._fetch(_IDENTITIES)
        if data is None:
            return []
        try:
            return _identities(data)
        except DamagedEntryError as error:
            self._set_aside(_IDENTITIES, str(error))
            return []
        except NewerEntryError as error:
            raise StoreUnavailableError(f"{self.folder}: the list of models is of {error}") from error

    def _add_identities(self, recorded: list[RecordedIdentity]) -> None:
        data: bytes | None = self._cache.get(_IDENTITIES)
        present = [] if data is None else _identities(data)
        every = [each for each in present if each not in recorded] + recorded
        self._cache.set(_IDENTITIES, seal({"identities": [each.parts() for each in every]}))


def _identities(data: bytes) -> list[RecordedIdentity]:
    listed = unseal(data).get("identities")
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise DamagedEntryError("not a list of models")
    try:
        return [RecordedIdentity.from_parts(each) for each in listed]
    except ValueError as error:
        raise DamagedEntryError(str(error)) from error


@contextmanager
def _translate(folder: Path) -> Iterator[None]:
    """Turn what sqlite3, diskcache and the operating system raise into this package's errors."""
    try:
        yield
    except diskcache.Timeout as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be written: it is read-only, its disk has a fault, or another "
            f"process held it for {_WAIT} s"
        ) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        if isinstance(error, sqlite3.OperationalError) and code not in _UNREADABLE:
            raise StoreUnavailableError(
                f"{folder}: the response store cannot be used: {error}; see to the folder and its disk, then run again"
            ) from error
        raise StoreCorruptedError(
            f"{folder}: the response store's database is damaged: {error}; move the folder away and run again in mode "
            "record, or restore it from a copy or a cassette"
        ) from error
    except (RefusedRowError, DamagedEntryError, NewerEntryError) as error:
        raise StoreCorruptedError(f"{folder}: the response store holds what was not written here: {error}") from error
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be used: {error.strerror or error}; see to the folder and its disk, "
            "then run again"
        ) from error
