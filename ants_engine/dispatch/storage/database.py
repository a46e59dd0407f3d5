"""The store's database file: diskcache writes it; here is what it does not look after: a file that was moved away."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ctypes import py_object, pythonapi
from pathlib import Path
from typing import NamedTuple

from ants_engine.dispatch.storage.row import RefusedRowError, is_key
from ants_engine.dispatch.storage.safe_cache import SafeCache, settle_settings
from ants_engine.dispatch.storage.schema import check_tables, create_tables, has_answers
from ants_engine.errors import StoreUnavailableError

MAX_VALUE_BYTES = 4_194_304
"""A longer value was not written here; no more of it is read."""
_ASKED_AT_ONCE = 500
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
}
_DAMAGE_WORDS = ("malformed", "unsupported file format", "no such table", "no such column", "database is empty")
_ROW = f"key, mode, filename, substr(value, 1, {MAX_VALUE_BYTES + 1}), store_time"


class ReplacedError(Exception):
    """The file at the database's path is not the one that was opened."""


class Row(NamedTuple):
    """One row as it is found, with nothing verified but the key."""

    key: str
    """Hex sha256."""
    mode: object
    filename: object
    value: object
    stored_at: object
    """Seconds since 1970."""


class Database:
    """One connection. All of it is used on one thread."""

    def __init__(self, path: Path, *, wait: float, make: bool = True, immutable: bool = False) -> None:
        """Open a database whose folder was prepared, and see that its tables are there.

        Args:
            path: the file, which has diskcache's name for it (``cache.db``).
            wait: seconds that another process may hold it.
            make: it may be written, and its tables made or brought to this version's form; if not, it is only read.
            immutable: it lies where nobody can write, and is read without locks and log.

        Raises:
            StoreCorruptedError: something else is in it.
            StoreUnavailableError: a later version made it.
            sqlite3.Error: it is damaged, or cannot be used.
        """
        self.path = path
        self._cache: SafeCache | None = None
        complete = True
        if make:
            self._cache, complete = self._open(wait)
            self._connection = self._cache.connection
        else:
            # diskcache makes tables and settings in whatever it opens: what nothing may change in is read without it.
            name = f"{path.as_uri()}?immutable=1" if immutable else str(path)
            self._connection = sqlite3.connect(name, uri=immutable, timeout=wait, isolation_level=None)
        try:
            _guard(self._connection)
            if self._cache is None:
                check_tables(self._connection, path.parent)
                _check_answers(self._connection)
            elif not complete:
                with self._cache.transaction():
                    create_tables(self._connection)
            found = path.stat()
        except BaseException:
            self.close()
            raise
        self._file = (found.st_dev, found.st_ino)

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Run one statement, and give all of its rows.

        Raises:
            sqlite3.Error: it failed.
        """
        # All at once: a cursor that is left half read would keep a snapshot, and the log from being folded back.
        return self._connection.execute(statement, values).fetchall()

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement, and count the rows that it changed.

        Raises:
            sqlite3.Error: it failed.
        """
        return self._connection.execute(statement, values).rowcount

    def rows(self, keys: Sequence[str]) -> Iterator[Row]:
        """Look up many rows at once; those that are not there are left out.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            part = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(part))
            for row in self.execute(f"SELECT {_ROW} FROM Cache WHERE raw = 1 AND key IN ({marks})", part):  # noqa: S608
                yield Row(*row)  # type: ignore[arg-type]  # the key is one of those that were asked for

    def rows_after(self, key: str, count: int) -> list[Row]:
        """Give the next rows in the order of their keys.

        Raises:
            sqlite3.Error: it cannot be read.
        """
        statement = f"SELECT {_ROW} FROM Cache WHERE raw = 1 AND key > ? ORDER BY key LIMIT ?"  # noqa: S608
        return [Row(*row) for row in self.execute(statement, (key, count)) if is_key(row[0])]  # type: ignore[arg-type]

    def write(self, key: str, data: bytes, *, stored_at: float | None = None) -> None:
        """Put a row there, in place of the one of this key. To be called within a transaction.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        try:
            self._writable().set(key, data)
        except RefusedRowError:
            raise
        except ValueError as error:
            # diskcache found two rows.
            raise sqlite3.DatabaseError("the index of keys is malformed") from error
        if stored_at is not None:
            times = (stored_at, stored_at, key)
            self.execute("UPDATE Cache SET store_time = ?, access_time = ? WHERE key = ? AND raw = 1", times)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write what is within, all or nothing; it is on disk, in the store's own file, at the end.

        Raises:
            ReplacedError: the file was moved away; what was written is in that one.
            FileNotFoundError: the folder is gone.
            sqlite3.Error: it cannot be written.
        """
        # SQLite goes on writing into a deleted file without a word.
        self.check_place()
        with self._writable().transaction():
            yield
        self.check_place()

    def check_place(self) -> None:
        """See that the file is still at its path.

        Raises:
            ReplacedError: another one is there; or none, in which case another process may be moving it aside.
            FileNotFoundError: the folder is gone.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            if not self.path.parent.exists():
                raise
            raise ReplacedError(f"{self.path.parent}: the response store's database went away") from None
        if (found.st_dev, found.st_ino) != self._file:
            raise ReplacedError(f"{self.path.parent}: the response store was replaced while it was open")

    def in_place(self) -> bool:
        """Tell whether the file is still at its path."""
        try:
            self.check_place()
        except (ReplacedError, OSError):
            return False
        return True

    def close(self) -> None:
        """Close it; only while it is in place, or nothing is in its place.

        Raises:
            sqlite3.Error: it cannot be closed.
        """
        if self._cache is not None:
            self._cache.close()
        self._connection.close()

    def abandon(self) -> None:
        """Leave it open for good. Closing deletes the log by its name, which would be that of the file's successor."""
        pythonapi.Py_IncRef(py_object(self._connection))

    def _writable(self) -> SafeCache:
        if self._cache is None:
            raise StoreUnavailableError(f"{self.path.parent}: the response store was opened to be read only")
        return self._cache

    def _open(self, wait: float) -> tuple[SafeCache, bool]:
        """Open it with diskcache, once it is known to be as diskcache makes one; and tell whether it is complete."""
        # While this is open, diskcache's closing and opening again does not fold the log back in between.
        with closing(sqlite3.connect(self.path, timeout=wait, isolation_level=None)) as connection:
            _guard(connection)
            complete = check_tables(connection, self.path.parent)
            settle_settings(connection)
            return SafeCache(self.path.parent, wait=wait), complete


def _guard(connection: sqlite3.Connection) -> None:
    # A text that is no UTF-8 is damage of its row, to be found where rows are verified.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    # Nothing in the schema is trusted; no page is read through a map, which a file that was cut off would crash.
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")


def _check_answers(connection: sqlite3.Connection) -> None:
    if not has_answers(connection):
        raise sqlite3.DatabaseError("the database is empty")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the database is damaged, and not only out of reach for now."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _DAMAGE:
        return True
    return any(word in str(error) for word in _DAMAGE_WORDS)
