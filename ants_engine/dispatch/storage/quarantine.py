"""Damaged rows, moved aside within the database: nothing that was paid for is ever deleted in silence."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ants_engine.dispatch.storage.database import Database, Row
from ants_engine.dispatch.storage.row import is_key
from ants_engine.dispatch.storage.schema import COLUMNS, QUARANTINE

_STRAY = "raw IS NOT 1 OR typeof(key) <> 'text' OR length(key) <> 64 OR key GLOB '*[^0-9a-f]*'"


class Quarantine:
    """The table of rows that were moved aside, as they were, with the reason. Used on the store's thread only."""

    def __init__(self, database: Database) -> None:
        """Use this database."""
        self._database = database

    def move(self, key: str, reason: str) -> None:
        """Move the row of this key aside.

        Raises:
            sqlite3.Error: the database cannot be written.
        """
        with self._transaction():
            self._move("key = ? AND raw = 1", (key,), reason)

    def move_strays(self) -> int:
        """Move aside all rows whose key is not a hex sha256, which nothing would ever find. Return how many.

        Raises:
            sqlite3.Error: the database cannot be written.
        """
        with self._transaction():
            return self._move(_STRAY, (), "its key is not a hex sha256")

    def strays(self) -> int:
        """Count the rows whose key is not a hex sha256.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        return self._count(f"SELECT COUNT(*) FROM Cache WHERE {_STRAY}")  # noqa: S608  # constants only

    def count(self) -> int:
        """Count the rows that were moved aside, and not put back.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        if not self._count("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'Quarantine'"):
            return 0
        return self._count(f"SELECT COUNT(*) FROM {QUARANTINE}")  # noqa: S608  # constants only

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Give the rows whose key is one of ours, each with its number here.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        last = 0
        statement = f"SELECT id, key, mode, filename, value, store_time FROM {QUARANTINE} WHERE id > ? LIMIT 1"  # noqa: S608
        while found := self._database.execute(statement, (last,)):
            ((number, *values),) = found
            last = int(str(number))
            if is_key(values[0]):
                yield last, Row(*values)  # type: ignore[arg-type]  # just looked at

    def forget(self, number: int) -> None:
        """Take a row out, which has been put back where it belongs. To be called within a transaction.

        Raises:
            sqlite3.Error: the database cannot be written.
        """
        self._database.execute(f"DELETE FROM {QUARANTINE} WHERE id = ?", (number,))  # noqa: S608  # constants only

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._database.transaction():
            yield

    def _count(self, statement: str) -> int:
        ((count,),) = self._database.execute(statement)
        return int(str(count))

    def _move(self, where: str, values: tuple[str, ...], reason: str) -> int:
        self._database.execute(
            f"INSERT INTO {QUARANTINE} (moved_at, reason, {COLUMNS}) "  # noqa: S608  # constants only
            f"SELECT ?, ?, {COLUMNS} FROM Cache WHERE {where}",
            (time.time(), reason, *values),
        )
        return self._database.change(f"DELETE FROM Cache WHERE {where}", values)  # noqa: S608
