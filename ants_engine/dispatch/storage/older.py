"""A store of version 0.1, an SQLite database of diskcache's: read once, and carried over into a journal."""

import hashlib
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ants_engine.common.canonical_json import canonical, digest
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import MAX_LINE_BYTES, Entry, model_line
from ants_engine.dispatch.storage.journal import JOURNAL, Journal

OLDER = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal", "open.lock", "damaged")
"""Files of version 0.1."""
CARRIED = "older"
"""Folder of these files after they have been carried over."""

_LOG = logging.getLogger("ants_engine.dispatch")
_MODELS = digest(canonical("identities"))


def carry_over(folder: Path, journal: Journal, *, strict: bool) -> int | None:
    """Make a journal of a store of version 0.1, whose files are then moved to ``older/``.

    Returns:
        If strict and nothing can be written: an open file without a name that holds the journal; else None.

    Raises:
        OSError: unless strict, the journal cannot be written.
    """
    database = folder / OLDER[0]
    if (folder / JOURNAL).exists() or not database.exists():
        return None
    try:
        with journal.locked():
            if not (folder / JOURNAL).exists():
                journal.create(_lines(database))
                (folder / CARRIED).mkdir(mode=0o700, exist_ok=True)
                for name in OLDER:
                    if (folder / name).exists():
                        (folder / name).replace(folder / CARRIED / name)
                _LOG.warning("%s: a store of an earlier version was carried over; its files are in older/", folder)
    except OSError:
        if not strict:
            raise
        with tempfile.TemporaryFile() as file:
            file.writelines([Journal.header(), *_lines(database)])
            file.flush()
            return os.dup(file.fileno())
    return None


def _lines(database: Path) -> Iterator[bytes]:
    """Yield what verifies, as lines of a journal. Values are read as bytes; nothing in the database is executed."""
    # without a write-ahead log nobody has it open, and it may be read as if it were on a CD-ROM
    how = "mode=ro" if database.with_name(f"{database.name}-wal").exists() else "immutable=1"
    kept = lost = 0
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?{how}", uri=True, isolation_level=None)) as connection:
            connection.text_factory = bytes
            connection.execute("PRAGMA trusted_schema = OFF")
            statement = "SELECT key, substr(value, 1, ?), store_time FROM Cache WHERE raw = 1 AND mode = 1"
            for row in connection.execute(statement, (MAX_LINE_BYTES,)):
                lines = _converted(*row)
                kept, lost = kept + len(lines), lost + (not lines)
                yield from lines
    except sqlite3.Error as error:
        _LOG.warning("%s is damaged (%s): what could be read of it is kept", database, error)
    if lost:
        _LOG.warning("%s: %d of %d rows do not verify; mode record asks for them again", database, lost, kept + lost)


def _converted(key: object, value: object, stored_at: object) -> list[bytes]:
    try:
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            return []
        content = json.loads(value)
        checksum = content.pop("checksum")
        if hashlib.sha256(canonical(content).encode()).hexdigest() != checksum or content.pop("schema") != 1:
            return []
        if key.decode() == _MODELS:
            return [model_line(RecordedIdentity.from_parts(each)) for each in content["identities"]]
        entry = Entry.from_parts(content, stored_at if isinstance(stored_at, float) else None)
        return [entry.to_line()] if entry.request.key == key.decode() else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
