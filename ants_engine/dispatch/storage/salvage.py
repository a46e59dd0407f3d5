"""A damaged database is moved aside as a whole, and what can be read of it and verifies goes into a fresh one."""

import contextlib
import itertools
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ants_engine.atomic_file import write_whole
from ants_engine.dispatch.storage.database import Database
from ants_engine.dispatch.storage.entry import DamagedEntryError, Entry, Failure, NewerEntryError
from ants_engine.dispatch.storage.identity_list import IDENTITIES, read_identities
from ants_engine.dispatch.storage.pages import Value, read_rows
from ants_engine.dispatch.storage.row import RefusedRowError, is_key, value_of
from ants_engine.dispatch.storage.schema import COLUMNS
from ants_engine.dispatch.storage.store_folder import DAMAGED, DATABASE, DATABASE_FILES

REPORT = "salvaged.json"
"""What came of it. A place without one is a salvage that was cut off, and is done again."""
_NAMES = ("rowid", *COLUMNS.split(", "))
_TOGETHER = 500
"""Rows that are written in one transaction."""


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was saved from one damaged database."""

    place: str
    """Where the damaged database is now."""
    answers: int
    """Those of the damaged database that are in the store now."""
    failures: int
    models: int
    """Lists of models: 1 or 0."""

    def describe(self) -> str:
        """Say it in words."""
        models = "" if self.models else "no list of models, "
        return f"{self.answers} answers, {self.failures} failures, {models}damaged files kept in {self.place}"


@dataclass(frozen=True, slots=True)
class _Found:
    key: str
    data: bytes
    stored_at: float
    kind: str


def set_aside(folder: Path) -> Path:
    """Move the database and its log into a place of their own. To be called under the store's lock.

    Returns:
        The place.

    Raises:
        OSError: they cannot be moved.
    """
    place = _new_place(folder / DAMAGED)
    # The database goes first: what a kill leaves behind then looks like what it is, see `unfinished`.
    for name in DATABASE_FILES:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).rename(place / name)
    for each in (place, folder / DAMAGED, folder):
        _to_disk(each)
    return place


def unfinished(folder: Path) -> list[Path]:
    """List the places whose salvage was cut off, or whose database was not even moved as a whole.

    Raises:
        OSError: the folder cannot be read.
    """
    parent = folder / DAMAGED
    if not parent.is_dir() or parent.is_symlink():
        return []
    places = sorted(each for each in parent.iterdir() if each.is_dir() and not each.is_symlink())
    return [each for each in places if (each / DATABASE).is_file() and not (each / REPORT).exists()]


def finish_move(folder: Path, places: list[Path]) -> None:
    """Move a log after its database, where a kill came between. To be called under the store's lock.

    Raises:
        OSError: it cannot be moved.
    """
    if not places or (folder / DATABASE).exists():
        return
    for name in DATABASE_FILES:
        if not (places[-1] / name).exists():
            with contextlib.suppress(FileNotFoundError):
                (folder / name).rename(places[-1] / name)


def salvage(place: Path, database: Database) -> Salvage:
    """Bring what verifies into a database, and note that it was done. Doing it twice changes nothing.

    Raises:
        OSError: the damaged files cannot be read.
        sqlite3.Error: the database cannot be written.
    """
    kinds: dict[str, str] = {}
    found = _verified(place / DATABASE)
    while part := list(itertools.islice(found, _TOGETHER)):
        with database.transaction():
            for each in part:
                # A key may be found several times: pages out of use hold earlier versions.
                kinds[each.key] = _write_if_better(each, database)
    count = Counter(kinds.values())
    done = Salvage(str(place), count["answer"], count["failure"], count["models"])
    write_whole(place / REPORT, json.dumps({"at": time.time(), **asdict(done)}, indent=1).encode())
    return done


def _verified(database: Path) -> Iterator[_Found]:
    for row in read_rows(database, len(_NAMES)):
        found = _verify(dict(zip(_NAMES, row, strict=True)))
        if found is not None:
            yield found


def _verify(row: dict[str, Value]) -> _Found | None:
    key, stored_at = row["key"], row["store_time"]
    if not isinstance(key, str) or not is_key(key):
        return None
    if not isinstance(stored_at, float | int) or not math.isfinite(stored_at) or not 0 <= stored_at <= time.time():
        stored_at = 0.0
    try:
        data = value_of(row["mode"], row["filename"], row["value"])
        if key == IDENTITIES:
            read_identities(data)
            kind = "models"
        else:
            kind = "failure" if isinstance(Entry.from_bytes(data, key).ending, Failure) else "answer"
    except NewerEntryError:
        # Sound, and not for this version to read.
        kind = "answer"
    except (RefusedRowError, DamagedEntryError):
        return None
    return _Found(key, data, float(stored_at), kind)


def _write_if_better(found: _Found, database: Database) -> str:
    """Write it, unless a later or better one is there. Return the kind of what is there now."""
    for present in database.rows([found.key]):
        was = _verify({**dict.fromkeys(_NAMES), **present._asdict(), "store_time": _number(present.stored_at)})
        if was is not None and (was.kind != "failure", was.stored_at) >= (found.kind != "failure", found.stored_at):
            return was.kind
    database.write(found.key, found.data, stored_at=found.stored_at)
    return found.kind


def _number(value: object) -> float:
    return float(value) if isinstance(value, float | int) else 0.0


def _new_place(parent: Path) -> Path:
    parent.mkdir(mode=0o700, exist_ok=True)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for number in itertools.count(1):
        place = parent / f"{moment}-{number}"
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700)
            return place
    raise AssertionError("unreachable")


def _to_disk(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
