"""The only form in which the response store reads and writes rows: bytes, in the row, under a sha256."""

import re
import sqlite3
from typing import Any

from diskcache import UNKNOWN, Disk

_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MODE_RAW = 1


class RefusedRowError(ValueError):
    """A row is not of the only form that is ever written. It is no OSError: diskcache takes those for a miss."""


class SafeDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """A disk that keeps bytes in rows. diskcache's own unpickles what it finds, and opens and deletes files by name."""

    def __init__(self, directory: str, **_settings: object) -> None:
        """Take the folder. Settings found in the database (``disk_…``) have no say here."""
        super().__init__(directory)

    def put(self, key: object) -> tuple[str, bool]:
        """Accept a hex sha256 as a key.

        Raises:
            RefusedRowError: it is none.
        """
        if type(key) is not str or _KEY.fullmatch(key) is None:
            raise RefusedRowError("a key must be a hex sha256")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Read a key.

        Raises:
            RefusedRowError: it is not a hex sha256 stored as text.
        """
        if raw != 1 or type(key) is not str or _KEY.fullmatch(key) is None:
            raise RefusedRowError("a row's key is not a hex sha256")
        return key

    def store(self, value: object, read: object, key: object = UNKNOWN) -> tuple[int, int, None, Any]:
        """Write bytes into the row, whatever their size.

        Raises:
            RefusedRowError: the value is not bytes.
        """
        if read or type(value) is not bytes:
            raise RefusedRowError("only bytes are stored")
        return 0, _MODE_RAW, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        """Read bytes from the row.

        Raises:
            RefusedRowError: the row is of another mode (pickle, say), names a file, or holds something else.
        """
        if read or mode != _MODE_RAW or filename is not None or type(value) is not bytes:
            raise RefusedRowError("the row does not hold plain bytes")
        return value

    def filename(self, key: object = UNKNOWN, value: object = UNKNOWN) -> tuple[str, str]:
        """Refuse: values are never kept in files.

        Raises:
            RefusedRowError: always.
        """
        raise RefusedRowError("values are kept in rows, not in files")

    def remove(self, file_path: str) -> None:
        """Do nothing: no file was ever written, so a name in a row is somebody else's idea."""
