"""Damaged rows, moved aside within the database: nothing that was paid for is ever deleted in silence."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

_COLUMNS = "key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"
_STRAY = "raw IS NOT 1 OR typeof(key) <> 'text' OR length(key) <> 64 OR key GLOB '*[^0-9a-f]*'"
TABLE = "Quarantine"


class Quarantine:
    """The table of rows that were moved aside, as they were, with the reason. Used on the store's thread only."""

    def __init__(self, database: Path) -> None:
        """Use this database file; the table is made when first needed."""
        self._database = database

    def move(self, key: str, reason: str) -> None:
        """Move the row of this key aside.

        Raises:
            sqlite3.Error: the database cannot be written.
        """
        self._move("key = ? AND raw = 1", (key,), reason)

    def move_strays(self) -> int:
        """Move aside all rows whose key is not a hex sha256, which nothing would ever find. Return how many.

        Raises:
            sqlite3.Error: the database cannot be written.
        """
        return self._move(_STRAY, (), "its key is not a hex sha256")

    def strays(self) -> int:
        """Count the rows whose key is not a hex sha256.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        with closing(self._connect()) as connection:
            count: int = connection.execute(f"SELECT COUNT(*) FROM Cache WHERE {_STRAY}").fetchone()[0]  # noqa: S608
            return count

    def count(self) -> int:
        """Count the rows that were moved aside, ever.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        with closing(self._connect()) as connection:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (TABLE,))
            if known.fetchone() is None:
                return 0
            count: int = connection.execute(f"SELECT COUNT(*) FROM {TABLE}").fetchone()[0]  # noqa: S608
            return count

    def _move(self, where: str, values: tuple[str, ...], reason: str) -> int:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, moved_at REAL, reason TEXT, {_COLUMNS})"
            )
            connection.execute(
                f"INSERT INTO {TABLE} (moved_at, reason, {_COLUMNS}) "  # noqa: S608  # constants only
                f"SELECT ?, ?, {_COLUMNS} FROM Cache WHERE {where}",
                (time.time(), reason, *values),
            )
            moved = connection.execute(f"DELETE FROM Cache WHERE {where}", values).rowcount  # noqa: S608
            connection.execute("COMMIT")
            return moved

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=60, isolation_level=None)
