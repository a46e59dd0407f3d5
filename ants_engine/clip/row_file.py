"""A file of rows of one width, found by key: grows at its end, and believes no row whose checksum does not fit."""

import hashlib
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)

KEY_BYTES = 32
_CHECK_BYTES = 16
_PATIENCE = 10.0
"""Seconds that another process may take to append."""


class RowFile:
    """Keys (32 bytes) to values (``width`` bytes). Losing it, or any part of it, costs time and nothing else.

    A row is key, value and a checksum over both and the file's title, so that neither a torn row nor a row of another
    file is ever taken for one of this. Rows are read when they are asked for; only the keys are held in memory. Several
    threads and processes may use one file: what another has appended is seen when it is opened next.
    """

    def __init__(self, path: Path, title: bytes, width: int) -> None:
        """Name the file; nothing is read or made yet.

        Args:
            path: the file. A second file beside it, ending in ``.lock``, is held while rows are appended.
            title: what the values were made with; part of every checksum.
            width: bytes of a value, at least 1.
        """
        self._path = path
        self._title = title
        self._width = width
        self._row = KEY_BYTES + width + _CHECK_BYTES
        self._places: dict[bytes, int] | None = None
        self._lock = threading.Lock()
        self._told = False

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of every key, or None where there is no sound one (blocking)."""
        with self._lock:
            places = self._opened()
            found: list[bytes | None] = [None] * len(keys)
            if not any(key in places for key in keys):
                return found
            try:
                with self._path.open("rb") as file:
                    for number, key in enumerate(keys):
                        if key in places:
                            file.seek(places[key])
                            found[number] = self._sound(key, file.read(self._row))
            except OSError as error:
                self._complain("read", error)
            for key, value in zip(keys, found, strict=True):
                if value is None:
                    # made anew, and appended once more
                    places.pop(key, None)
            return found

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> bool:
        """Append rows whose keys are not there yet (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.

        Raises:
            ValueError: a key or a value is of the wrong length.
        """
        if any(len(key) != KEY_BYTES or len(value) != self._width for key, value in rows):
            raise ValueError(f"keys of {KEY_BYTES} and values of {self._width} bytes are expected")
        with self._lock:
            places = self._opened()
            new = {key: value for key, value in rows if key not in places}
            if not new:
                return True
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{self._path}.lock", timeout=_PATIENCE), self._path.open("ab") as file:
                    start = file.seek(0, 2)
                    # a row that was cut off by a crash is filled up, and never fits its checksum
                    filled = -start % self._row
                    file.write(bytes(filled) + b"".join(key + new[key] + self._check(key, new[key]) for key in new))
            except (OSError, Timeout) as error:
                self._complain("keep", error)
                return False
            for number, key in enumerate(new):
                places[key] = start + filled + number * self._row
            return True

    def _opened(self) -> dict[bytes, int]:
        if self._places is None:
            self._places = {}
            with suppress(FileNotFoundError):
                try:
                    count = self._path.stat().st_size // self._row
                    if count:
                        kind = np.dtype([("key", f"V{KEY_BYTES}"), ("rest", f"V{self._row - KEY_BYTES}")])
                        # of a large file only the pages with keys are read
                        keys = np.memmap(self._path, dtype=kind, mode="r", shape=(count,))["key"].tobytes()
                        # the last row of a key is the one that counts
                        self._places = {
                            keys[KEY_BYTES * number : KEY_BYTES * (number + 1)]: number * self._row
                            for number in range(count)
                        }
                except FileNotFoundError:
                    raise
                except (OSError, ValueError) as error:
                    self._complain("read", error)
        return self._places

    def _sound(self, key: bytes, row: bytes) -> bytes | None:
        value, check = row[KEY_BYTES:-_CHECK_BYTES], row[-_CHECK_BYTES:]
        if len(row) == self._row and row[:KEY_BYTES] == key and check == self._check(key, value):
            return value
        logger.warning("%s: a row is damaged and is made anew", self._path)
        return None

    def _check(self, key: bytes, value: bytes) -> bytes:
        return hashlib.sha256(self._title + key + value).digest()[:_CHECK_BYTES]

    def _complain(self, verb: str, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.info("%s: cannot %s (%s)", self._path, verb, getattr(error, "strerror", None) or error)
