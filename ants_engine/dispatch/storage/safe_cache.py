"""diskcache's cache, as the response store opens and writes it: with its traps closed.

Private members of diskcache are used here and nowhere else. It is pinned below 6, and 5.6.3 is its last release.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diskcache import DEFAULT_SETTINGS, Cache, Timeout

from ants_engine.dispatch.storage.safe_disk import SafeDisk

SETTINGS: dict[str, object] = {
    **DEFAULT_SETTINGS,
    # Without these two it forgets the oldest answers beyond 1 GiB.
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    # FULL: a commit is on the disk, not only with the operating system, so that a power cut takes no answer.
    "sqlite_synchronous": 2,
    "sqlite_journal_mode": "wal",
    # A file that was cut off would crash whoever reads it through a map.
    "sqlite_mmap_size": 0,
    # These two are SQLite's own: no page moves at a deletion, and an open store takes 2 MB of memory, not 32.
    "sqlite_auto_vacuum": 0,
    "sqlite_cache_size": -2000,
}
"""Every setting that diskcache has, so that none is left for what is found in a database."""
_SETS = {
    "INSERT OR REPLACE INTO Settings VALUES (?, ?)": "SELECT 1 FROM Settings WHERE key IS ?1 AND value IS ?2",
    "UPDATE Settings SET value = ? WHERE key = ?": "SELECT 1 FROM Settings WHERE value IS ?1 AND key IS ?2",
    "INSERT OR IGNORE INTO Settings VALUES (?, ?)": "SELECT 1 FROM Settings WHERE key IS ?1 AND ?2 IS ?2",
}
"""How diskcache sets a setting, and how to see that it is set already."""


class SafeCache(Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache in a folder whose database was looked at before (`schema.check_tables`). All on one thread."""

    def __init__(self, folder: Path, *, wait: float) -> None:
        """Open it, making what is missing, all or nothing. Where nothing is missing, nothing is written or locked.

        Args:
            folder: where the database is.
            wait: seconds that another process may hold it, when it is written.

        Raises:
            sqlite3.Error: it is damaged, or cannot be used.
        """
        self._folder = str(folder)
        self._making = False
        try:
            # Any folder that is there would do, see `_directory`.
            super().__init__(os.sep, timeout=wait, disk=SafeDisk, **SETTINGS)
        except (ValueError, TypeError, AttributeError) as error:
            super().close()
            # Only other values than were looked at end so: a damaged index of settings, say.
            raise sqlite3.DatabaseError(f"the table of settings is malformed: {error}") from error
        except BaseException:
            super().close()
            raise

    def close(self) -> None:
        """Close it. diskcache does so once at the end of its own making, which is complete then.

        Raises:
            sqlite3.Error: what was made cannot be kept.
        """
        if self._making:
            self._con.execute("COMMIT")
            self._making = False
        super().close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for what diskcache has no word for. It is this thread's."""
        found: sqlite3.Connection = self._con
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do what is within all or not at all, and raise what went wrong.

        Raises:
            sqlite3.Error: it cannot be begun or committed.
        """
        cause: BaseException | None = None
        try:
            with self.transact():
                try:
                    yield
                except BaseException as error:
                    cause = error
                    raise
        except Timeout:
            raise self._why_not_begun() from None
        except BaseException:
            self._roll_back()
            if cause is None:
                raise
        try:
            # SQLite rolls back by itself on a full disk: then diskcache's ROLLBACK fails, and hides why.
            if cause is not None:
                raise cause
        finally:
            # The traceback would hold this frame, and the frame the traceback.
            del cause

    def _why_not_begun(self) -> sqlite3.Error:
        """Find out what diskcache calls a timeout, whatever it was."""
        connection = self.connection
        # It has been waited for already.
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return error
        finally:
            self._roll_back()
            connection.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")
        over = sqlite3.OperationalError("database is locked")
        over.sqlite_errorcode = sqlite3.SQLITE_BUSY
        return over

    def _roll_back(self) -> None:
        # diskcache does not when it cannot commit; and after some errors SQLite has already.
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")

    @property
    def _directory(self) -> str:
        # diskcache expands "~" and "$NAME" in the name that it is given, and would make another folder.
        return self._folder

    @_directory.setter
    def _directory(self, _expanded: str) -> None:
        pass

    @property
    def _sql_retry(self) -> Callable[..., Any]:
        # diskcache sets each setting at each opening, and commits each to the disk. While it makes anything, this is
        # one transaction; otherwise there is none, which a full disk or one who writes for long would hold up.
        run = super()._sql_retry

        def run_unless_set(statement: str, values: tuple[object, ...] = ()) -> Any:
            if statement in _SETS:
                if self._sql(_SETS[statement], values).fetchone():
                    return None
                if not self._making:
                    run("BEGIN IMMEDIATE")
                    self._making = True
            return run(statement, values)

        return run_unless_set


def settle_settings(connection: sqlite3.Connection) -> None:
    """Give those settings that a database has our values: diskcache obeys what it finds there as soon as it connects.

    Raises:
        sqlite3.Error: the database cannot be read or written.
    """
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'Settings'").fetchone() is None:
        return
    found = connection.execute("SELECT key, value FROM Settings").fetchall()
    other = [(SETTINGS[key], key) for key, value in found if key in SETTINGS and SETTINGS[key] != value]
    for each in other:
        connection.execute("UPDATE Settings SET value = ? WHERE key = ?", each)
