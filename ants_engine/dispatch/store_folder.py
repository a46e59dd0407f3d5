"""The store's folder: made private, and a database in it is looked at before diskcache trusts what it says."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from diskcache import DEFAULT_SETTINGS

from ants_engine.dispatch import quarantine
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

DATABASE = "cache.db"
LOCK = "open.lock"

_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK)
_TABLES = {"Settings", "Cache", quarantine.TABLE}
_INDICES = {"Cache_key_raw", "Cache_expire_time"}
_COUNTS = {"count", "size", "hits", "misses"}
_WORDS = {"eviction_policy", "sqlite_journal_mode"}
_TRIGGER = re.compile(
    r"CREATE TRIGGER \w+ AFTER (INSERT|DELETE|UPDATE) ON Cache FOR EACH ROW BEGIN "
    r'UPDATE Settings SET value = value [-+] [\w .+-]+ WHERE key = "(count|size)"; END'
)


def prepare_folder(folder: Path, *, make: bool) -> None:
    """See that the folder is there, readable by its owner alone, and make it if it may be made.

    Raises:
        StoreUnavailableError: it cannot be made or used, holds other things, or has links where files should be.
    """
    if os.path.expandvars(folder) != str(folder):
        raise StoreUnavailableError(f"{folder}: '$' in the name of a store's folder would be expanded; choose another")
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not (folder / DATABASE).exists():
            raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
        found = {each.name for each in folder.iterdir()}
        if DATABASE not in found and found - {LOCK}:
            raise StoreUnavailableError(
                f"{folder}: holds other files and no response store; name a new or empty folder (dispatch.store)"
            )
        links = [name for name in _FILES if (folder / name).is_symlink()]
        if links:
            raise StoreUnavailableError(f"{folder}: {links[0]} is a link; a response store has none")
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be opened: {error.strerror}; "
            "see to the folder or name another (dispatch.store)"
        ) from error


def check_database(folder: Path) -> None:
    """Look at an existing database before it is opened in earnest.

    diskcache takes settings from it for attributes and PRAGMAs, and SQLite runs its triggers: only those that diskcache
    itself writes are let through.

    Raises:
        StoreCorruptedError: something else is in it.
        sqlite3.Error: it is damaged or cannot be read.
    """
    database = folder / DATABASE
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        schema = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        foreign = [name for kind, name, sql in schema if not _expected(kind, name, sql)]
        if not foreign and any(name == "Settings" for _, name, _ in schema):
            rows = connection.execute("SELECT key, value FROM Settings").fetchall()
            foreign = [f"setting {key}" for key, value in rows if not _expected_setting(key, value)]
    if foreign:
        raise StoreCorruptedError(
            f"{folder}: not as ants_engine writes a store ({str(foreign[0])[:80]!r} does not belong there); "
            "do not trust it: move the folder away"
        )


def _expected_setting(key: object, value: object) -> bool:
    if key in _WORDS:
        return type(value) is str and value.replace("-", "").isalpha()
    return (key in DEFAULT_SETTINGS or key in _COUNTS) and type(value) is int


def _expected(kind: str, name: str, sql: str | None) -> bool:
    spelled = " ".join((sql or "").split())
    if kind == "table":
        return name in _TABLES and spelled.startswith(f"CREATE TABLE {name}")
    if kind == "index":
        return name in _INDICES or sql is None
    return kind == "trigger" and _TRIGGER.fullmatch(spelled) is not None
