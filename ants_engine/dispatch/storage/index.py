"""The journal's index: key → place, in diskcache. It holds nothing that the journal does not, and may be deleted.

diskcache unpickles and opens what it finds in its database (CVE-2025-69872), so `_Disk` lets only bytes under a sha256
through, and every place is checked against the journal. Private members of diskcache are not used.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

from diskcache import DEFAULT_SETTINGS, UNKNOWN, Cache, Disk, Timeout

VERSION = 1
Place = tuple[int, int]
"""Where a line is in the journal: its first byte, and its length with the newline."""

_MARK = "0" * 64
_PLACE = Struct("<QQ")
_SETTINGS: dict[str, object] = {
    **DEFAULT_SETTINGS,
    # without these two it evicts the oldest places beyond 1 GiB
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    # what a power cut takes is rebuilt from the journal
    "sqlite_synchronous": 0,
    # a write-ahead log would be deleted by whoever closes an index that was rebuilt meanwhile
    "sqlite_journal_mode": "delete",
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": -2000,
}
"""Every setting of diskcache, so that none is taken from a doctored database."""
_FAULTS = (*(sqlite3.Error, OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError, Timeout),)
"""What reading or writing a damaged, doctored or read-only database raises."""


class IndexFaultError(Exception):
    """The index cannot be used. Internal: the journal is read instead."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of which journal the index covers."""

    journal: str
    """The journal's id."""
    end: int
    """Bytes from the journal's start."""
    models: tuple[Place, ...]
    """Lines within them that name a model."""


class _Disk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Stores bytes in rows under a hex sha256, and nothing else."""

    def __init__(self, directory: str, **_settings: object) -> None:
        super().__init__(directory)

    def put(self, key: object) -> tuple[object, bool]:
        return key, True

    def get(self, key: object, raw: object) -> object:
        if raw != 1 or type(key) is not str:
            raise ValueError("a row's key is not a text")
        return key

    def store(self, value: object, read: object, key: object = UNKNOWN) -> tuple[int, int, None, Any]:
        if read or type(value) is not bytes:
            raise ValueError("only bytes are stored")
        return 0, 1, None, sqlite3.Binary(value)

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        if read or mode != 1 or filename is not None or type(value) is not bytes:
            raise ValueError("the row does not hold plain bytes")
        return value

    def filename(self, key: object = UNKNOWN, value: object = UNKNOWN) -> tuple[str, str]:
        raise ValueError("values are stored in rows, not in files")

    def remove(self, file_path: str) -> None:
        """Do nothing: this index has no files, so a file name in a row was put there by somebody else."""


class PlaceIndex:
    """The place of each key's latest line, up to a mark in the journal. Used on one thread.

    Every method but `close` and `discard` raises `IndexFaultError` when the index is damaged or cannot be written.
    """

    def __init__(self, folder: Path, *, wait: float) -> None:
        """Open or create it; ``wait`` is how many seconds another process may hold its database."""
        if folder.is_symlink():
            raise IndexFaultError(f"{folder} is a link")
        with _translated():
            folder.mkdir(mode=0o700, exist_ok=True)
            self._cache = Cache(str(folder), timeout=wait, disk=_Disk, **_SETTINGS)

    def mark(self) -> Mark | None:
        """Return how far it goes; None when it is empty or of another version."""
        with _translated():
            data = self._cache.get(_MARK, retry=True)
            if data is None or (parts := json.loads(data)).pop("version") != VERSION:
                return None
            return Mark(str(parts["journal"]), int(parts["end"]), tuple((int(a), int(b)) for a, b in parts["models"]))

    def place(self, key: str) -> Place | None:
        """Look a key up."""
        with _translated():
            data = self._cache.get(key, retry=True)
            if data is None:
                return None
            if len(data) != _PLACE.size:
                raise ValueError("a place is malformed")
            start, length = _PLACE.unpack(data)
            return start, length

    def keys(self) -> list[str]:
        """Return all keys."""
        with _translated():
            return [key for key in self._cache if key != _MARK and len(key) == len(_MARK)]

    def write(self, places: Mapping[str, Place], mark: Mark, *, replace: bool) -> None:
        """Add places and move the mark, all or nothing; ``replace`` drops what is there, of another journal."""
        data = {"version": VERSION, "journal": mark.journal, "end": mark.end, "models": mark.models}
        with _translated(), self._cache.transact(retry=True):
            if replace:
                self._cache.clear(retry=True)
            for key, place in places.items():
                self._cache.set(key, _PLACE.pack(*place), retry=True)
            self._cache.set(_MARK, json.dumps(data).encode(), retry=True)

    def close(self) -> None:
        """Close it; errors do not matter, since the index can be rebuilt."""
        with suppress(*_FAULTS):
            self._cache.close()

    @staticmethod
    def discard(folder: Path) -> None:
        """Delete an index, whatever is in its place."""
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise IndexFaultError(str(error)) from error
