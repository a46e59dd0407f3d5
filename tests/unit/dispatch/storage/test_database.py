"""The database: written by diskcache, which says what went wrong, obeys nothing that it finds, and runs nothing."""

import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from ants_engine.dispatch.storage.database import Database
from ants_engine.dispatch.storage.row import RefusedRowError
from ants_engine.dispatch.storage.safe_cache import SETTINGS, SafeCache
from ants_engine.dispatch.storage.schema import FORM
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

KEYS = [f"{number:064x}" for number in range(60)]
EXECUTED: list[str] = []


def execute(word: str) -> str:
    """Leave a trace. By its name: a pickle of a bound method would hold a copy of the list."""
    EXECUTED.append(word)
    return word


class Bomb:
    """Unpickling one of these leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (execute, ("boom",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "cache.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, wait=0.05)) as opened:
        yield opened


def cache_of(database: Database) -> SafeCache:
    assert database._cache is not None
    return database._cache


def doctor(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def fill(database: Database, keys: list[str] = KEYS) -> None:
    with database.transaction():
        for key in keys:
            database.write(key, b"x" * 3000)


def count(database: Database) -> int:
    return len(list(database.rows(KEYS)))


def test_diskcache_opens_makes_and_writes_it(path: Path) -> None:
    with closing(Database(path, wait=1)) as database:
        fill(database)
        assert isinstance(database._cache, diskcache.Cache)
        # A diskcache of the standard kind finds the same bytes.
        with diskcache.Cache(str(path.parent)) as plain:
            assert plain[KEYS[7]] == b"x" * 3000
            assert len(plain) == len(KEYS)


def test_a_full_disk_is_named_though_sqlite_has_rolled_back_by_itself(database: Database) -> None:
    fill(database, KEYS[:2])
    database.execute("PRAGMA max_page_count = 30")
    large = "INSERT INTO Quarantine (reason) VALUES (zeroblob(500000))"
    with pytest.raises(sqlite3.OperationalError, match="no transaction is active"), cache_of(database).transact():
        # This is what diskcache makes of it.
        database.execute(large)

    def overfill() -> None:
        with database.transaction():
            database.write(KEYS[2], b"x")
            database.execute(large)

    for attempt in (overfill, lambda: fill(database)):
        with pytest.raises(sqlite3.OperationalError, match="full") as caught:
            attempt()
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
        assert count(database) == 2
    database.execute("PRAGMA max_page_count = 30000")
    fill(database)
    assert count(database) == len(KEYS)


def test_what_the_writer_raises_takes_everything_back_and_is_raised_as_it_is(database: Database) -> None:
    error = KeyError("of the writer")

    def write() -> None:
        with database.transaction():
            database.write(KEYS[0], b"x")
            raise error

    with pytest.raises(KeyError) as caught:
        write()
    assert caught.value is error
    assert error.__context__ is None
    assert count(database) == 0


def test_one_who_holds_it_is_named_and_the_wait_is_kept(database: Database, path: Path) -> None:
    fill(database, KEYS[:1])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(diskcache.Timeout) as vague, cache_of(database).transact():
            pass
        assert str(vague.value) == ""
        assert vague.value.__cause__ is None
        with pytest.raises(sqlite3.OperationalError, match="database is locked") as caught:
            fill(database)
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
        other.execute("ROLLBACK")
    assert database.execute("PRAGMA busy_timeout") == [(50,)]
    fill(database)


def test_what_only_looks_like_a_timeout_is_raised_as_what_it_is(database: Database) -> None:
    database.execute("BEGIN")
    with pytest.raises(diskcache.Timeout), cache_of(database).transact():
        pass
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        fill(database)
    # What was left open is over now.
    fill(database)
    assert count(database) == len(KEYS)


def test_one_who_let_go_in_the_last_moment_held_it_all_the_same(database: Database) -> None:
    error = cache_of(database)._why_not_begun()
    assert error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    assert not cache_of(database).connection.in_transaction


def test_a_commit_that_fails_leaves_no_transaction_behind(database: Database) -> None:
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("CREATE TEMP TABLE parent (id INTEGER PRIMARY KEY)")
    database.execute("CREATE TEMP TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")

    def orphan() -> None:
        with database.transaction():
            database.write(KEYS[0], b"x")
            database.execute("INSERT INTO child VALUES (7)")

    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        orphan()
    assert not cache_of(database).connection.in_transaction
    assert count(database) == 0
    fill(database)
    assert count(database) == len(KEYS)


def test_the_time_of_a_row_is_the_one_given(database: Database) -> None:
    with database.transaction():
        database.write(KEYS[0], b"x", stored_at=1234.5)
    assert [row.stored_at for row in database.rows(KEYS)] == [1234.5]


def test_what_is_opened_to_be_read_is_not_written(database: Database, path: Path) -> None:
    fill(database)
    with closing(Database(path, wait=1, make=False)) as reader:
        assert count(reader) == len(KEYS)
        with pytest.raises(StoreUnavailableError, match="to be read only"):
            fill(reader)


async def test_a_strict_store_is_not_written(path: Path) -> None:
    async with ResponseStore(path.parent) as store:
        await store.put(make_request(), Answer("x"))
    async with ResponseStore(path.parent, strict=True) as store:
        with pytest.raises(StoreUnavailableError, match="to be read only"):
            await store.put(make_request("b"), Answer("x"))


def test_a_whole_store_is_opened_without_a_lock_and_without_a_write(path: Path) -> None:
    with closing(Database(path, wait=1)) as database:
        fill(database)
    before = path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(Database(path, wait=0.05)) as database:
            assert count(database) == len(KEYS)
        assert path.with_name("cache.db-wal").stat().st_size == 0
        other.execute("ROLLBACK")
    assert path.read_bytes() == before


def test_one_who_writes_for_long_is_named_when_a_store_of_older_settings_is_opened(database: Database) -> None:
    database.execute("UPDATE Settings SET value = 67108864 WHERE key = 'sqlite_mmap_size'")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            Database(database.path, wait=0.05)
        other.execute("ROLLBACK")
    Database(database.path, wait=0.05).close()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that any connection runs from here on."""
    statements: list[str] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def listen(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", listen)
    return statements


OTHER: dict[str, object] = {
    "sqlite_mmap_size": 1 << 26,
    "sqlite_journal_mode": "delete",
    "sqlite_synchronous": 0,
    "sqlite_cache_size": 1 << 40,
    "sqlite_auto_vacuum": 2,
    "eviction_policy": "least-recently-used",
    "cull_limit": 10,
    "size_limit": 1,
    "statistics": 1,
    "tag_index": 1,
    "disk_min_file_size": 0,
    "disk_pickle_protocol": 0,
}


def test_settings_found_in_the_database_are_never_obeyed(path: Path, traced: list[str]) -> None:
    assert OTHER.keys() == SETTINGS.keys() == diskcache.DEFAULT_SETTINGS.keys()
    with closing(Database(path, wait=1)) as database:
        fill(database)
    for key, value in OTHER.items():
        doctor(path, "UPDATE Settings SET value = ? WHERE key = ?", value, key)
    traced.clear()
    with closing(Database(path, wait=1)) as database:
        fill(database, KEYS[:1])
        assert count(database) == len(KEYS)
        pragmas = ("mmap_size", "journal_mode", "synchronous", "cache_size", "trusted_schema", "cell_size_check")
        assert [database.execute(f"PRAGMA {each}")[0][0] for each in pragmas] == [0, "wal", 2, -2000, 0, 1]
        found = dict(database.execute("SELECT key, value FROM Settings"))
        assert found.items() >= SETTINGS.items()
    set_here = {each for each in traced if each.startswith("PRAGMA") and "=" in each}
    assert not [each for each in set_here for word in ("67108864", "delete", "= 1099", "vacuum") if word in each]
    assert {each.name for each in path.parent.iterdir()} == {"cache.db"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("disk_remove", 1), ("disk_filename", "x"), ("disk_store", 1), ("_disk", 1), ("close", 1), ("_txn_id", 0),
     ("sqlite_wal_checkpoint", "x"), ("sqlite_temp_store_directory", "'/tmp'"), ("disk_pickle_protocol", "x")],
)  # fmt: skip
def test_a_doctored_setting_never_reaches_diskcache(path: Path, key: str, value: object, traced: list[str]) -> None:
    with closing(Database(path, wait=1)) as database:
        fill(database)
    doctor(path, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    before = path.read_bytes()
    traced.clear()
    with pytest.raises(StoreCorruptedError, match=rf"setting {key}' does not belong there"):
        Database(path, wait=1)
    assert traced
    # Only the look at it has been.
    assert traced[-1] == "SELECT key, value FROM Settings"
    assert path.read_bytes() == before


def test_a_pickle_in_a_row_or_a_key_is_not_run_by_the_cache(database: Database, path: Path) -> None:
    fill(database, KEYS[:3])
    doctor(path, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", pickle.dumps(Bomb()), KEYS[0])
    doctor(path, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, x'00')", pickle.dumps(Bomb()))
    cache = cache_of(database)
    EXECUTED.clear()
    for read in (lambda: cache[KEYS[0]], lambda: cache.pop(KEYS[0]), lambda: list(cache), cache.peekitem):
        with pytest.raises(RefusedRowError):
            read()
    with database.transaction():
        database.write(KEYS[0], b"x")
    assert cache[KEYS[0]] == b"x"
    with pytest.raises(RefusedRowError):
        cache.set((1, 2), b"x")
    with pytest.raises(RefusedRowError):
        cache.set(KEYS[0], {"a": 1})
    assert EXECUTED == []
    # What the test is about: diskcache's own disk does run it.
    with diskcache.Cache(str(path.parent)) as plain:
        list(plain)
    assert EXECUTED == ["boom"]


def test_a_file_named_in_a_row_is_neither_read_nor_deleted(database: Database, path: Path) -> None:
    secret = path.parent.parent / "secret"
    secret.write_text("untouched")
    fill(database, KEYS[:1])
    cache = cache_of(database)
    for mode in (1, 2, 3, 4):
        doctor(path, "UPDATE Cache SET mode = ?, filename = '../secret', value = NULL", mode)
        with pytest.raises(RefusedRowError):
            cache.get(KEYS[0])
        with database.transaction():
            database.write(KEYS[0], b"x")
        doctor(path, "UPDATE Cache SET filename = '../secret'")
        assert cache.delete(KEYS[0])
        fill(database, KEYS[:1])
    assert secret.read_text() == "untouched"
    assert {each.name for each in path.parent.iterdir()} == {"cache.db", "cache.db-wal", "cache.db-shm"}


WITHOUT_DISKCACHE = """
CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value);
INSERT OR IGNORE INTO Settings VALUES ('count', 0), ('size', 0);
CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL,
 expire_time REAL, access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0,
 mode INTEGER DEFAULT 0, filename TEXT, value BLOB);
CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw);
CREATE TABLE Quarantine (id INTEGER PRIMARY KEY, moved_at REAL, reason TEXT, key, raw, store_time, expire_time,
 access_time, access_count, tag, size, mode, filename, value);
PRAGMA user_version = 1;
"""
"""What was made for a while without diskcache."""


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 100])
def test_tables_of_another_making_or_of_a_cut_off_one_are_completed(path: Path, cut: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in WITHOUT_DISKCACHE.split(";")[:cut]:
            connection.execute(statement)
        connection.commit()
    for _ in range(2):
        with closing(Database(path, wait=1)) as database:
            fill(database)
            assert count(database) == len(KEYS)
            assert database.execute("PRAGMA user_version") == [(FORM,)]
            assert database.execute("SELECT COUNT(*) FROM Quarantine") == [(0,)]
            triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            assert len(triggers) == 5


def test_a_schema_that_cannot_even_be_quoted_is_damage(path: Path) -> None:
    Database(path, wait=1).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = CAST(x'a5a5' || sql AS TEXT) WHERE name = 'Cache'")
        connection.commit()
    for make in (True, False):
        with pytest.raises(sqlite3.DatabaseError, match="malformed database schema"):
            Database(path, wait=1, make=make)
