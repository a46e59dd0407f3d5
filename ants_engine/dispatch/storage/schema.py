"""The database's tables, and a look at those of an existing one before diskcache and SQLite do what they say.

All but one are diskcache's, and made by it.
"""

import re
import sqlite3

from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

FORM = 1
"""Version of the layout, kept as ``user_version``; 0 is what diskcache alone makes, as earlier versions did."""
QUARANTINE = "Quarantine"
COLUMNS = "key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"

_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {QUARANTINE} (id INTEGER PRIMARY KEY, moved_at REAL, reason TEXT, {COLUMNS})",
    f"PRAGMA user_version = {FORM}",
)
_TABLES = {
    "Settings": ["key", "value"],
    "Cache": ["rowid", *COLUMNS.split(", ")],
    QUARANTINE: ["id", "moved_at", "reason", *COLUMNS.split(", ")],
}
_INDICES = {"Cache_key_raw": "Cache(key,raw)", "Cache_expire_time": "Cache(expire_time)"}
# No parentheses within: no expression, check or computed column.
_TABLE = re.compile(r"CREATE TABLE (\w+) ?\(([\w ,]+)\)")
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+ ?\([\w ,]+\))")
_TRIGGER = re.compile(
    r"CREATE TRIGGER \w+ AFTER (INSERT|DELETE|UPDATE) ON Cache FOR EACH ROW BEGIN "
    r'UPDATE Settings SET value = value [-+] [\w .+-]+ WHERE key = "(count|size)"; END'
)
_NUMBERS = {
    *("count", "size", "hits", "misses", "statistics", "tag_index", "size_limit", "cull_limit", "sqlite_auto_vacuum"),
    *("sqlite_cache_size", "sqlite_mmap_size", "sqlite_synchronous", "disk_min_file_size", "disk_pickle_protocol"),
}
_WORDS = {"eviction_policy", "sqlite_journal_mode"}


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables that diskcache does not make. To be called within a transaction.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    for statement in _CREATE:
        connection.execute(statement)


def check_tables(connection: sqlite3.Connection, name: object) -> bool:
    """Look at what is in a database: SQLite runs triggers and views, so none but the known ones are let through.

    Args:
        connection: to the database, with ``trusted_schema`` off.
        name: what the store is called in errors.

    Returns:
        Whether all tables are there, in the form of this version.

    Raises:
        StoreCorruptedError: something else is in it.
        StoreUnavailableError: a later version made it.
        sqlite3.Error: it is damaged or cannot be read.
    """
    form: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if form > FORM:
        raise StoreUnavailableError(
            f"{name}: the response store is of form {form}, and this version of ants_engine knows forms up to {FORM}; "
            "install a newer version, or name another folder (dispatch.store)"
        )
    try:
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    except UnicodeDecodeError as error:
        # SQLite quotes what it cannot parse, and sqlite3 cannot decode that.
        raise sqlite3.DatabaseError("malformed database schema") from error
    foreign = [str(name) for kind, name, table, sql in schema if not _expected(kind, name, table, sql)]
    present = {name for kind, name, *_ in schema if kind == "table"}
    if not foreign and "Settings" in present:
        rows = connection.execute("SELECT key, value FROM Settings").fetchall()
        foreign = [f"setting {key}" for key, value in rows if not _expected_setting(key, value)]
    if foreign:
        raise StoreCorruptedError(
            f"{name}: not as ants_engine writes a store ({foreign[0][:80]!r} does not belong there); "
            "do not trust it: move the folder away"
        )
    return form == FORM and present >= _TABLES.keys()


def has_answers(connection: sqlite3.Connection) -> bool:
    """Tell whether there is a table of answers at all.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'Cache'").fetchone()
    return found is not None


def _expected_setting(key: object, value: object) -> bool:
    if key in _WORDS:
        return type(value) is str and value.replace("-", "").isalpha()
    return key in _NUMBERS and type(value) is int


def _expected(kind: object, name: object, table: object, sql: object) -> bool:
    spelled = " ".join(str(sql or "").split())
    if kind == "table":
        found = _TABLE.fullmatch(spelled)
        columns = [column.split()[0] for column in found[2].split(",")] if found else []
        return found is not None and name == found[1] and columns == _TABLES.get(str(name))
    if kind == "index":
        if sql is None:
            return table in _TABLES
        found = _INDEX.fullmatch(spelled)
        return found is not None and found[1] == name and _INDICES.get(str(name)) == found[2].replace(" ", "")
    return kind == "trigger" and _TRIGGER.fullmatch(spelled) is not None
