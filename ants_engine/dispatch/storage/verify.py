"""Looks at everything that a store holds, and changes nothing."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from ants_engine.dispatch.canonical import excerpt
from ants_engine.dispatch.storage import log_file
from ants_engine.dispatch.storage.database import is_damage
from ants_engine.dispatch.storage.entry import DamagedEntryError, Entry, Failure, NewerEntryError
from ants_engine.dispatch.storage.identity_list import IDENTITIES, read_identities
from ants_engine.dispatch.storage.row import RefusedRowError, is_key, value_of
from ants_engine.dispatch.storage.salvage import unfinished
from ants_engine.dispatch.storage.schema import QUARANTINE, check_tables, has_answers
from ants_engine.dispatch.storage.store_faults import translated
from ants_engine.dispatch.storage.store_folder import DATABASE, LOCK, OWN
from ants_engine.errors import StoreUnavailableError

_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong."""

    key: str
    """The entry's key; empty where it is no entry."""
    task: str
    """The entry's task, where that can still be read."""
    reason: str


@dataclass(slots=True)
class Verification:
    """What was found."""

    answers: int = 0
    """Sound ones."""
    failures: int = 0
    """Sound ones."""
    newer: int = 0
    """Sound entries that a later version wrote."""
    quarantined: int = 0
    """Rows that were moved aside earlier."""
    damaged: list[Damage] = field(default_factory=list)


def verify(folder: Path) -> Verification:
    """Check every entry, the database, its log and what else is in the folder.

    Raises:
        StoreUnavailableError: there is no store, it cannot be read, or another process is opening it.
        StoreCorruptedError: it was doctored.
    """
    folder = folder.absolute()
    database = folder / DATABASE
    if not database.is_file():
        raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
    found = Verification()
    with translated(folder):
        found.damaged += [Damage("", "", reason) for reason in _around(folder)]
        try:
            _look(folder, found)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            found.damaged.append(Damage("", "", f"the database: {error}"))
    return found


def _around(folder: Path) -> Iterator[str]:
    for each in sorted(folder.iterdir()):
        if each.name not in OWN:
            yield f"{excerpt(each.name)} does not belong in the folder"
        elif each.is_symlink():
            yield f"{each.name} is a link"
    if log_file.is_damaged(_log(folder)):
        yield "the database's log: committed pages are damaged"
    for place in unfinished(folder):
        yield f"the repair in {place} was cut off"


def _look(folder: Path, found: Verification) -> None:
    # Without a log nobody has it open, and with the lock nobody opens it: then it is read as if it were on a CD-ROM,
    # so that not even a log is made.
    lock = FileLock(folder / LOCK)
    if (folder / LOCK).exists():
        with suppress(OSError):
            lock.acquire(timeout=60)
    try:
        alone = not _log(folder).exists()
        uri = f"{(folder / DATABASE).as_uri()}?{'immutable=1' if alone else 'mode=ro'}"
        with closing(sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            connection.execute("PRAGMA trusted_schema = OFF")
            check_tables(connection, folder)
            if not has_answers(connection):
                raise sqlite3.DatabaseError("the database is empty")
            _look_at_rows(connection, found)
            for (message,) in connection.execute(f"PRAGMA integrity_check({_MESSAGES})"):
                if message != "ok":
                    found.damaged.append(Damage("", "", f"the database: {excerpt(str(message), 200)}"))
    finally:
        lock.release()


def _look_at_rows(connection: sqlite3.Connection, found: Verification) -> None:
    for key, raw, mode, filename, value in connection.execute("SELECT key, raw, mode, filename, value FROM Cache"):
        if raw != 1 or not is_key(key):
            found.damaged.append(Damage("", "", f"a row's key is not a hex sha256: {excerpt(str(key))}"))
            continue
        try:
            data = value_of(mode, filename, value)
            if key == IDENTITIES:
                read_identities(data)
            elif isinstance(Entry.from_bytes(data, key).ending, Failure):
                found.failures += 1
            else:
                found.answers += 1
        except NewerEntryError:
            found.newer += 1
        except (RefusedRowError, DamagedEntryError) as error:
            what = "the list of models: " if key == IDENTITIES else ""
            found.damaged.append(Damage(key, _task(value), f"{what}{error}"))
    with suppress(sqlite3.OperationalError):
        ((found.quarantined,),) = connection.execute(f"SELECT COUNT(*) FROM {QUARANTINE}")  # noqa: S608  # constant


def _task(value: object) -> str:
    """Say which task a damaged entry belonged to, if that can be read."""
    try:
        task = json.loads(value)["request"]["task"] if isinstance(value, bytes) else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return task[:40] if isinstance(task, str) else ""


def _log(folder: Path) -> Path:
    return folder / f"{DATABASE}-wal"
