"""What diskcache puts into rows and takes out of them: bytes under a sha256, and never a pickle or a file."""

import sqlite3
from typing import Any

from diskcache import UNKNOWN, Disk

from ants_engine.dispatch.storage.row import MODE, RefusedRowError, is_key, value_of


class SafeDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """A disk that keeps bytes in rows. diskcache's own unpickles what it finds, and opens and deletes files by name."""

    def __init__(self, directory: str, **_settings: object) -> None:
        """Take the folder. Settings found in the database (``disk_…``) have no say here."""
        super().__init__(directory)

    def put(self, key: object) -> tuple[object, bool]:
        """Accept a hex sha256 as a key.

        Raises:
            RefusedRowError: it is none.
        """
        if not is_key(key):
            raise RefusedRowError("a key must be a hex sha256")
        return key, True

    def get(self, key: object, raw: object) -> object:
        """Read a key.

        Raises:
            RefusedRowError: it is not a hex sha256 stored as text.
        """
        if raw != 1 or not is_key(key):
            raise RefusedRowError("a row's key is not a hex sha256")
        return key

    def store(self, value: object, read: object, key: object = UNKNOWN) -> tuple[int, int, None, Any]:
        """Write bytes into the row, whatever their size.

        Raises:
            RefusedRowError: the value is not bytes.
        """
        if read or type(value) is not bytes:
            raise RefusedRowError("only bytes are stored")
        return 0, MODE, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        """Read bytes from the row.

        Raises:
            RefusedRowError: the row is of another mode (pickle, say), names a file, or holds something else.
        """
        if read:
            raise RefusedRowError("values are kept in rows, not in files")
        return value_of(mode, filename, value)

    def filename(self, key: object = UNKNOWN, value: object = UNKNOWN) -> tuple[str, str]:
        """Refuse: values are never kept in files.

        Raises:
            RefusedRowError: always.
        """
        raise RefusedRowError("values are kept in rows, not in files")

    def remove(self, file_path: str) -> None:
        """Do nothing: no file was ever written, so a name in a row is somebody else's idea."""
