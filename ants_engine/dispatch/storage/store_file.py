"""The store's database: opened under a lock, mended where it is damaged, and opened anew where it was replaced."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from filelock import Timeout as LockTimeout

from ants_engine.dispatch.storage import log_file
from ants_engine.dispatch.storage.database import Database, ReplacedError, is_damage
from ants_engine.dispatch.storage.salvage import Salvage, finish_move, salvage, set_aside, unfinished
from ants_engine.dispatch.storage.store_faults import translated
from ants_engine.dispatch.storage.store_folder import DATABASE, LOCK, prepare_folder
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

T = TypeVar("T")

_LOG = logging.getLogger("ants_engine.dispatch")
_ATTEMPTS = 3
"""Times that one piece of work is begun, when the database turns out to be damaged or replaced."""
_LOOKS, _BETWEEN_LOOKS = 3, 0.2
"""Looks at a log that seems damaged, and seconds between them: a large import is inconsistent until it is through."""


class StoreFile:
    """The database of one store. All of it runs on the store's thread, but for `give_up`."""

    def __init__(self, folder: Path, *, strict: bool, wait: float) -> None:
        """Name the folder.

        Args:
            folder: where the store is.
            strict: damage is an error, and nothing is changed.
            wait: seconds that another process may hold it.
        """
        self.folder = folder
        self.salvages: list[Salvage] = []
        """What was salvaged from damaged databases since it was first opened."""
        self._strict = strict
        self._wait = wait
        self._path = folder / DATABASE
        self._database: Database | None = None
        self._given_up = False

    @property
    def database(self) -> Database:
        """The open database.

        Raises:
            StoreUnavailableError: there is none.
        """
        if self._database is None:
            raise StoreUnavailableError(f"{self.folder}: the response store is not open; it could not be opened again")
        return self._database

    def open(self) -> None:
        """Open it, making and mending what has to be.

        Raises:
            StoreUnavailableError: the folder cannot be used, or another process holds it all the time.
            StoreCorruptedError: what is there is no store, or, if strict, a damaged one.
        """
        with translated(self.folder):
            prepare_folder(self.folder, make=not self._strict)
            with self._locked():
                self._open()

    def close(self) -> None:
        """Close it. Nothing is raised: what was written is on disk, and the rest is housekeeping."""
        database, self._database = self._database, None
        if database is None:
            return
        with suppress(sqlite3.Error):
            if not self.folder.exists():
                database.close()
                return
            try:
                with self._locked():
                    # Under the lock nobody puts another file there meanwhile.
                    if database.in_place() or not self._path.exists():
                        database.close()
                        return
            except (StoreUnavailableError, OSError):
                pass
            database.abandon()

    def reopen(self) -> None:
        """Close and open, making the folder anew if it is gone.

        Raises:
            StoreUnavailableError: it cannot be used. It is closed then, and may be reopened later.
            StoreCorruptedError: what is there is no store, or, if strict, a damaged one.
        """
        self.close()
        self.open()

    def give_up(self) -> None:
        """Stop waiting for a lock; nobody waits for the outcome."""
        self._given_up = True

    def run(self, work: Callable[[], T]) -> T:
        """Do some work with `database`; where that is damaged or replaced, once more with a mended or the new one.

        Raises:
            StoreUnavailableError: it is out of reach for now.
            StoreCorruptedError: it is damaged, and strict, or not to be mended.
        """
        with translated(self.folder):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return work()
                except (sqlite3.Error, ReplacedError) as error:
                    if attempt == _ATTEMPTS or not self._recover(error):
                        raise
        raise AssertionError("unreachable")

    def commit(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do many pieces of work in one transaction, all or none; they may be begun more than once.

        Raises:
            StoreUnavailableError: it cannot be written.
            StoreCorruptedError: it is damaged, and not to be mended.
        """

        def together() -> list[Any]:
            with self.database.transaction():
                return [work() for work in works]

        return self.run(together)

    def mend(self, reason: str) -> None:
        """Move the database aside and save what verifies, unless another process did so since it was opened.

        Raises:
            StoreUnavailableError: the folder cannot be used.
        """
        with translated(self.folder), self._locked():
            old = self.database
            self._database = None
            if old.in_place():
                self._set_aside(reason)
                # Now that nothing is at its path, closing can delete nobody's log.
                with suppress(sqlite3.Error):
                    old.close()
            else:
                old.abandon()
            self._open()

    def _recover(self, error: sqlite3.Error | ReplacedError) -> bool:
        if self._strict or self._database is None:
            return False
        if isinstance(error, ReplacedError):
            _LOG.warning("%s; opened anew", error)
            self.reopen()
            return True
        if is_damage(error):
            self.mend(str(error))
            return True
        return False

    def _open(self) -> None:
        places = unfinished(self.folder)
        if self._strict:
            self._database = self._open_as_it_is(places)
            return
        finish_move(self.folder, places)
        try:
            self._look_at_log()
            database = Database(self._path, wait=self._wait)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside(str(error))
            places = unfinished(self.folder)
            database = Database(self._path, wait=self._wait)
        try:
            for place in places:
                done = salvage(place, database)
                self.salvages.append(done)
                _LOG.warning("%s: the response store was damaged; salvaged: %s", self.folder, done.describe())
        except BaseException:
            database.close()
            raise
        self._database = database

    def _open_as_it_is(self, places: list[Path]) -> Database:
        if places:
            raise StoreCorruptedError(
                f"{self.folder}: the response store was damaged, and its repair was cut off; finish it with "
                "'ants cache repair' or a run in mode record"
            )
        self._look_at_log()
        try:
            return Database(self._path, wait=self._wait, make=False)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY} or _log_of(self._path).exists():
                raise
        return Database(self._path, wait=self._wait, make=False, immutable=True)

    def _look_at_log(self) -> None:
        """See that SQLite will not take damage for the end of the log.

        Raises:
            sqlite3.DatabaseError: it would.
        """
        log = _log_of(self._path)
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS)
            if not log_file.is_damaged(log) and not _orphaned(log, self._path):
                return
        raise sqlite3.DatabaseError("its log is malformed")

    def _set_aside(self, reason: str) -> None:
        place = set_aside(self.folder)
        _LOG.warning("%s: the database is damaged (%s); moved to %s", self.folder, reason, place)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.folder / LOCK, mode=0o600)
        end = time.monotonic() + self._wait
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.2)
            except LockTimeout as error:
                if self._given_up or time.monotonic() >= end:
                    raise StoreUnavailableError(
                        f"{self.folder}: another process has been opening or mending the response store for "
                        f"{self._wait:g} s; wait for it, or end it"
                    ) from error
            except OSError:
                if not self._strict:
                    raise
                # Where no lock can be made, nobody can change the store either.
                break
        try:
            yield
        finally:
            lock.release()


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _orphaned(log: Path, database: Path) -> bool:
    """Tell whether a log has lost its database: SQLite would delete it."""
    try:
        return log.stat().st_size > 0 and (not database.exists() or database.stat().st_size == 0)
    except FileNotFoundError:
        return False
