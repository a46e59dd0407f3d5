"""The journal's index: key → place, in diskcache. It holds nothing that the journal does not, and may be deleted.

Private members of diskcache are not used. It unpickles and opens what it finds in its database (CVE-2025-69872), so a
`_Disk` of ours lets only bytes under a sha256 through, and every place that it gives is checked against the journal.
"""

import json
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

from diskcache import DEFAULT_SETTINGS, UNKNOWN, Cache, Disk, Timeout

VERSION = 1
Place = tuple[int, int]
"""Where a line is in the journal: its first byte and its length, the line's end included."""

_MARK = "0" * 64
_PLACE = Struct("<QQ")
_KEY_LENGTH = 64
_SETTINGS: dict[str, object] = {
    **DEFAULT_SETTINGS,
    # without these two it forgets the oldest places beyond 1 GiB
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "tag_index": 0,
    # what a power cut takes is made again from the journal
    "sqlite_synchronous": 0,
    # a log beside the database would be deleted by whoever closes an index that was made anew meanwhile
    "sqlite_journal_mode": "delete",
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": -2000,
}
"""Every setting that diskcache has, so that none is left for what is found in a database."""
_FAULTS = (sqlite3.Error, OSError, ValueError, TypeError, AttributeError, KeyError, Timeout)
"""What a damaged, doctored or unwritable database ends in."""


class IndexFaultError(Exception):
    """The index cannot be used. Never seen outside of `storage`: the journal is read in its place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of which journal the index covers."""

    journal: str
    """The journal's id."""
    end: int
    """Bytes from the journal's beginning."""
    models: tuple[Place, ...]
    """Lines within them that say which model was asked."""


class _Disk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Bytes in rows under a hex sha256, and nothing else."""

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
        raise ValueError("values are kept in rows, not in files")

    def remove(self, file_path: str) -> None:
        """Do nothing: no file was ever written, so a name in a row is somebody else's idea."""


class PlaceIndex:
    """Where each key's latest line is, for all of the journal up to a mark. All of it is used on one thread."""

    def __init__(self, folder: Path, *, wait: float) -> None:
        """Open it, making it if it is not there.

        Args:
            folder: the index's own.
            wait: seconds that another process may hold it.

        Raises:
            IndexFaultError: it is damaged, or cannot be written.
        """
        self._folder = folder
        if folder.is_symlink():
            raise IndexFaultError(f"{folder} is a link")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._cache = Cache(str(folder), timeout=wait, disk=_Disk, **_SETTINGS)
        except _FAULTS as error:
            raise IndexFaultError(str(error)) from error

    def mark(self) -> Mark | None:
        """Return how far it goes; None where it is empty or of another version.

        Raises:
            IndexFaultError: it is damaged.
        """
        data = self._get(_MARK)
        if data is None:
            return None
        try:
            parts = json.loads(data)
            if parts.pop("version") != VERSION:
                return None
            return Mark(str(parts["journal"]), int(parts["end"]), tuple((int(a), int(b)) for a, b in parts["models"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise IndexFaultError(f"its mark is malformed: {error}") from error

    def place(self, key: str) -> Place | None:
        """Look a key up.

        Raises:
            IndexFaultError: it is damaged.
        """
        data = self._get(key)
        if data is None:
            return None
        if len(data) != _PLACE.size:
            raise IndexFaultError("a place is malformed")
        start, length = _PLACE.unpack(data)
        return start, length

    def keys(self) -> list[str]:
        """Return all keys.

        Raises:
            IndexFaultError: it is damaged.
        """
        try:
            return [key for key in self._cache if key != _MARK and len(key) == _KEY_LENGTH]
        except _FAULTS as error:
            raise IndexFaultError(str(error)) from error

    def write(self, places: Mapping[str, Place], mark: Mark, *, anew: bool) -> None:
        """Add places and move the mark, all or nothing.

        Args:
            places: the latest of each key, between the mark before and this one.
            mark: how far it goes now.
            anew: what was there is of another journal, and goes.

        Raises:
            IndexFaultError: it cannot be written; it is as it was.
        """
        said = {"version": VERSION, "journal": mark.journal, "end": mark.end, "models": mark.models}
        try:
            with self._cache.transact(retry=True):
                if anew:
                    self._cache.clear(retry=True)
                for key, place in places.items():
                    self._cache.set(key, _PLACE.pack(*place), retry=True)
                self._cache.set(_MARK, json.dumps(said).encode(), retry=True)
        except _FAULTS as error:
            raise IndexFaultError(str(error)) from error

    def close(self) -> None:
        """Close it; nothing is raised, since nothing in it is needed."""
        try:
            self._cache.close()
        except _FAULTS:
            return

    @staticmethod
    def discard(folder: Path) -> None:
        """Delete an index, whatever is there in its place."""
        if folder.is_symlink():
            folder.unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _get(self, key: str) -> bytes | None:
        try:
            found: bytes | None = self._cache.get(key, retry=True)
        except _FAULTS as error:
            raise IndexFaultError(str(error)) from error
        return found
