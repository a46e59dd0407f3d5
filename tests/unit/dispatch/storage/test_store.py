"""The store: what is put is found, what is damaged is noticed, and nothing that is found is run."""

import asyncio
import pickle
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ants_engine.dispatch.canonical import canonical, digest
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.database import Database
from ants_engine.dispatch.storage.entry import Entry, Failure, seal
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import BackendTimeoutError, RateLimitError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

EXECUTED: list[str] = []


def execute(word: str) -> str:
    """Leave a trace. By its name: a pickle of a bound method would hold a copy of the list."""
    EXECUTED.append(word)
    return word


class Bomb:
    """Unpickling one of these leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (execute, ("boom",))


def sql(folder: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


async def filled(folder: Path, *prompts: str) -> None:
    async with ResponseStore(folder) as store:
        for prompt in prompts:
            await store.put(make_request(prompt), Answer(f"answer to {prompt}", "stop", 3, 4))


async def test_what_is_put_is_found_again_in_full(folder: Path) -> None:
    request, answer = make_request("naïve 猫\x00"), Answer("a\n\x00 猫 \u2028" * 3, "stop", 3, None)
    async with ResponseStore(folder) as store:
        assert await store.get(request.key) is None
        await store.put(request, answer)
    async with ResponseStore(folder, strict=True) as store:
        entry = await store.get(request.key)
        assert entry is not None
        assert entry.ending == answer
        assert entry.request == request
        assert [each.request.key async for each in store.entries()] == [request.key]


async def test_entries_come_in_the_order_of_their_keys(store: ResponseStore) -> None:
    requests = [make_request(f"{number}") for number in range(450)]
    await asyncio.gather(*(store.put(request, Answer(request.prompt)) for request in requests))
    assert [entry.request.key async for entry in store.entries()] == sorted(request.key for request in requests)


async def test_a_failure_is_kept_until_there_is_an_answer_and_never_after(store: ResponseStore) -> None:
    request = make_request()
    await store.put_failure(request, RateLimitError("slow down", retry_after=3))
    entry = await store.get(request.key)
    assert entry is not None
    assert entry.ending == Failure("RateLimitError", "slow down")
    assert type(entry.ending.error()) is RateLimitError
    await store.put(request, Answer("at last"))
    await store.put_failure(request, BackendTimeoutError("too late"))
    entry = await store.get(request.key)
    assert entry is not None
    assert entry.ending == Answer("at last")


async def test_a_backends_own_error_is_kept_as_the_engines_nearest() -> None:
    class RateLimitError(BackendTimeoutError):  # an engine's name, and not the engine's class
        pass

    assert Failure.of(RateLimitError("x" * 600)) == Failure("BackendTimeoutError", "x" * 500)


async def test_disk_work_is_done_on_one_thread_that_ends_with_the_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    original = Database.execute

    def watched(self: Database, *args: Any) -> Any:
        seen.add(threading.current_thread().name)
        return original(self, *args)

    monkeypatch.setattr(Database, "execute", watched)
    before = threading.active_count()
    async with ResponseStore(folder) as store:
        await asyncio.gather(*(store.get(make_request(str(number)).key) for number in range(20)))
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert len(seen) == 1
    assert threading.main_thread().name not in seen


async def test_a_write_outlives_the_cancellation_of_the_one_who_waits(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        put = asyncio.create_task(store.put(make_request(), Answer("kept")))
        await asyncio.sleep(0)
        put.cancel()
        with pytest.raises(asyncio.CancelledError):
            await put
    async with ResponseStore(folder) as store:
        assert await store.get(make_request().key) is not None


async def test_the_folder_is_private(folder: Path) -> None:
    await filled(folder, "a")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    await filled(folder, "b")
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_values_are_kept_in_rows_whatever_their_size(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put(make_request(), Answer("猫" * 20_000))
        assert {path.name for path in folder.iterdir()} <= {"cache.db", "cache.db-wal", "cache.db-shm", "open.lock"}


async def test_a_closed_store_says_so(folder: Path) -> None:
    store = ResponseStore(folder)
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await store.get("ab" * 32)
    await store.open()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await store.put(make_request(), Answer("x"))


PICKLED = pickle.dumps(Bomb())


def pickle_in_row(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", PICKLED, key)


def pickle_in_file(folder: Path, key: str) -> None:
    (folder / "x.val").write_bytes(PICKLED)
    sql(folder, "UPDATE Cache SET mode = 4, value = NULL, filename = 'x.val' WHERE key = ?", key)


def json_disk_pickle(folder: Path, key: str) -> None:
    # What JSONDisk falls for: it reads through the plain disk first, which unpickles.
    sql(folder, "UPDATE Cache SET mode = 4, value = ? WHERE key = ?", pickle.dumps(zlib.compress(b"1")) + PICKLED, key)


def file_outside(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET mode = 2, value = NULL, filename = '../secret' WHERE key = ?", key)


def text_file(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET mode = 3, value = NULL, filename = '/etc/hostname' WHERE key = ?", key)


def named_file(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET filename = '../secret' WHERE key = ?", key)


def bit_flip(folder: Path, key: str) -> None:
    ((value,),) = sql(folder, "SELECT value FROM Cache WHERE key = ?", key)
    at = value.index(b"answer to")
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", value[:at] + b"A" + value[at + 1 :], key)


def cut_off(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = substr(value, 1, length(value) - 20) WHERE key = ?", key)


def empty(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = x'' WHERE key = ?", key)


def no_value(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = NULL WHERE key = ?", key)


def number(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = 17 WHERE key = ?", key)


def bad_text(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = CAST(x'ff00ff' AS TEXT) WHERE key = ?", key)


def deep(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", b"[" * 100_000, key)


def huge(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = zeroblob(5000000) WHERE key = ?", key)


def other_answer(folder: Path, key: str) -> None:
    sql(folder, "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key <> ?) WHERE key = ?", key, key)


def not_bound(folder: Path, key: str) -> None:
    """Sealed properly, with an answer that no version would have written."""
    parts = {"request": make_request("a").payload(), "schema": 1}
    parts["answer"] = {"text": "x", "finish_reason": "error", "prompt_tokens": None, "completion_tokens": None}
    data = canonical({**parts, "checksum": digest(canonical(parts))}).encode()
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", data, key)


def foreign_failure(folder: Path, key: str) -> None:
    """Sealed properly, naming a class that is no backend's error."""
    parts = {"request": make_request("a").payload(), "schema": 1, "failure": {"kind": "Sequence", "message": "x"}}
    data = canonical({**parts, "checksum": digest(canonical(parts))}).encode()
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", data, key)


DAMAGES = [
    pickle_in_row, pickle_in_file, json_disk_pickle, file_outside, text_file, named_file, bit_flip, cut_off, empty,
    no_value, number, bad_text, deep, huge, other_answer, not_bound, foreign_failure,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_entry_is_fatal_in_replay_and_moved_aside_otherwise(
    folder: Path, damage: Callable[[Path, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    EXECUTED.clear()
    await filled(folder, "a", "b")
    secret = folder.parent / "secret"
    secret.write_text("untouched")
    key, sound = make_request("a").key, make_request("b").key
    damage(folder, key)
    row = sql(folder, "SELECT mode, filename, CAST(value AS BLOB) FROM Cache WHERE key = ?", key)
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError, match=f"entry {key[:12]}… is damaged"):
            await store.get(key)
        with pytest.raises(StoreCorruptedError):
            [entry async for entry in store.entries()]
        assert await store.get(sound) is not None
    async with ResponseStore(folder) as store:
        assert await store.get(key) is None
        assert "moved aside" in caplog.text
        assert await store.quarantined() == 1
        assert [entry.request.key async for entry in store.entries()] == [sound]
        await store.put(make_request("a"), Answer("again"))
        assert await store.get(key) is not None
    assert sql(folder, "SELECT mode, filename, CAST(value AS BLOB) FROM Quarantine") == row
    assert secret.read_text() == "untouched"
    assert EXECUTED == []


async def test_overwriting_a_row_that_names_a_file_deletes_no_file(folder: Path) -> None:
    await filled(folder, "a")
    secret = folder.parent / "secret"
    secret.write_text("untouched")
    named_file(folder, make_request("a").key)
    await filled(folder, "a")
    assert secret.read_text() == "untouched"


@pytest.mark.parametrize(("key", "raw"), [(pickle.dumps(Bomb()), 0), ("../x", 1), (b"ab", 1), (17, 1), ("A" * 64, 1)])
async def test_rows_with_other_keys_are_never_unpickled(folder: Path, key: object, raw: int) -> None:
    EXECUTED.clear()
    await filled(folder, "a")
    sql(folder, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, ?, 1, x'00')", key, raw)
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError, match="1 rows have damaged keys"):
            [entry async for entry in store.entries()]
    async with ResponseStore(folder) as store:
        assert len([entry async for entry in store.entries()]) == 1
        assert await store.quarantined() == 1
    assert EXECUTED == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_directory", "/elsewhere"),
        ("disk_remove", 1),
        ("disk_min_file_size", "x"),
        ("sqlite_cache_size", "1; ATTACH 'x'"),
        ("sqlite_writable_schema", 1),
        ("get", 1),
        ("eviction_policy", b"none"),
        ("sqlite_journal_mode", "wal; x"),
        (17, 1),
    ],
)
async def test_settings_that_are_not_known_are_refused(folder: Path, key: object, value: object) -> None:
    await filled(folder, "a")
    sql(folder, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    with pytest.raises(StoreCorruptedError, match=rf"setting {key}.*do not trust it"):
        await ResponseStore(folder).open()


@pytest.mark.parametrize("key", ["disk_pickle_protocol", "disk_min_file_size", "cull_limit", "size_limit"])
async def test_settings_found_in_the_database_have_no_say(folder: Path, key: str) -> None:
    await filled(folder, "a")
    sql(folder, "UPDATE Settings SET value = 1 WHERE key = ?", key)
    sql(folder, "UPDATE Settings SET value = 'least-recently-used' WHERE key = 'eviction_policy'")
    await filled(folder, *"bcdefghijklm")
    async with ResponseStore(folder) as store:
        assert len([entry async for entry in store.entries()]) == 13


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER Settings_count_more AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE Other (x)",
        "CREATE INDEX odd ON Cache (mode)",
    ],
)
async def test_a_schema_that_is_not_known_is_refused(folder: Path, statement: str) -> None:
    await filled(folder, "a")
    sql(folder, statement)
    with pytest.raises(StoreCorruptedError, match="does not belong there"):
        await ResponseStore(folder).open()


async def test_a_table_that_lacks_columns_is_refused(folder: Path) -> None:
    folder.mkdir()
    sql(folder, "CREATE TABLE Cache (key, raw)")
    with pytest.raises(StoreCorruptedError, match=r"'Cache' does not belong there"):
        await ResponseStore(folder).open()


async def test_a_folder_with_other_things_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(StoreUnavailableError, match="holds other files and no response store"):
        await ResponseStore(folder).open()
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["cache.db", "open.lock"])
async def test_links_in_the_folder_are_refused(folder: Path, name: str) -> None:
    await filled(folder, "a")
    target = folder.parent / "target"
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(target)
    with pytest.raises(StoreUnavailableError, match=f"{name} is a link"):
        await ResponseStore(folder).open()
    assert not target.exists()


async def test_what_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailableError, match="cannot be opened"):
        await ResponseStore(tmp_path / "file").open()
    await filled(tmp_path / "$HOME ~ %20?x=1#", "a")
    assert (tmp_path / "$HOME ~ %20?x=1#" / "cache.db").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {"file", "$HOME ~ %20?x=1#"}


async def test_waiting_for_one_who_opens_it_ends_in_time_and_at_a_cancellation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    threads = threading.active_count()
    with FileLock(folder / "open.lock"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ResponseStore(folder).open(), 0.02)
        assert threading.active_count() == threads
        monkeypatch.setattr("ants_engine.dispatch.storage.store._WAIT", 0.02)
        with pytest.raises(StoreUnavailableError, match="another process has been opening"):
            await ResponseStore(folder).open()
    await filled(folder, "a")


async def test_replay_makes_no_store(folder: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="no response store is there"):
        await ResponseStore(folder, strict=True).open()
    assert not folder.exists()


async def test_a_folder_deleted_under_way_is_noticed_before_anything_counts_as_kept(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        with pytest.raises(StoreUnavailableError, match="cannot be used"):
            await store.put(make_request(), Answer("x"))


async def test_a_store_held_by_another_is_unavailable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ants_engine.dispatch.storage.store._WAIT", 0.05)
    async with ResponseStore(folder) as store:
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError, match="another process held it all the time"):
                await store.put(make_request(), Answer("x"))
            other.execute("ROLLBACK")
        await store.put(make_request(), Answer("x"))


async def test_an_entry_of_a_later_version_is_neither_used_nor_moved(folder: Path) -> None:
    await filled(folder, "a")
    parts = {"request": make_request("a").payload(), "schema": 99}
    data = canonical({**parts, "checksum": digest(canonical(parts))}).encode()
    sql(folder, "UPDATE Cache SET value = ?", data)
    async with ResponseStore(folder) as store:
        with pytest.raises(StoreUnavailableError, match="form 99; this version of ants_engine reads up to 1"):
            await store.get(make_request("a").key)
        assert await store.quarantined() == 0


def model(name: str, weights: str, backend: str = "huggingface") -> RecordedIdentity:
    return RecordedIdentity(backend, name, {"weights": weights}, pictures=True, text_only=False)


async def test_identities_are_kept_in_order_the_latest_last(folder: Path) -> None:
    one, two, other = model("m", "1"), model("m", "2"), model("n", "3", "openai")
    async with ResponseStore(folder) as store:
        assert await store.get_identities() == []
        for each in (one, two, other, one, one):
            await store.put_identity(each)
    async with ResponseStore(folder, strict=True) as store:
        assert await store.get_identities() == [two, other, one]
        assert await store.get_identities("huggingface") == [two, one]
        assert [entry async for entry in store.entries()] == []


async def test_a_damaged_list_of_models_is_moved_aside_too(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put_identity(model("m", "1"))
    sql(folder, "UPDATE Cache SET value = x'7b7d'")
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError):
            await store.get_identities()
    async with ResponseStore(folder) as store:
        assert await store.get_identities() == []
        assert await store.quarantined() == 1


OLDER = """
CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value);
INSERT INTO Settings VALUES ('count', 0), ('size', 0), ('hits', 0), ('misses', 0), ('statistics', 0), ('tag_index', 0),
    ('eviction_policy', 'none'), ('size_limit', 1073741824), ('cull_limit', 0), ('sqlite_auto_vacuum', 1),
    ('sqlite_cache_size', 8192), ('sqlite_journal_mode', 'wal'), ('sqlite_mmap_size', 67108864),
    ('sqlite_synchronous', 2), ('disk_min_file_size', 32768), ('disk_pickle_protocol', 5);
CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,
    access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,
    filename TEXT, value BLOB);
CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw);
CREATE INDEX Cache_expire_time ON Cache (expire_time);
CREATE TRIGGER Settings_count_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + 1 WHERE key = "count"; END;
CREATE TRIGGER Settings_count_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value - 1 WHERE key = "count"; END;
CREATE TRIGGER Settings_size_insert AFTER INSERT ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + NEW.size WHERE key = "size"; END;
CREATE TRIGGER Settings_size_update AFTER UPDATE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value + NEW.size - OLD.size WHERE key = "size"; END;
CREATE TRIGGER Settings_size_delete AFTER DELETE ON Cache FOR EACH ROW BEGIN
    UPDATE Settings SET value = value - OLD.size WHERE key = "size"; END;
"""
"""What version 0.1 made, through diskcache."""


async def test_a_store_of_an_older_form_is_read_replayed_and_written(folder: Path) -> None:
    folder.mkdir()
    request = make_request("old")
    with closing(sqlite3.connect(folder / "cache.db")) as connection:
        connection.executescript(OLDER)
    sql(
        folder,
        "INSERT INTO Cache (key, raw, store_time, mode, value) VALUES (?, 1, 1.7e9, 1, ?)",
        request.key,
        seal(Entry(request, Answer("of old")).parts()),
    )
    async with ResponseStore(folder, strict=True) as store:
        assert [entry.ending async for entry in store.entries()] == [Answer("of old")]
        assert await store.quarantined() == 0
    async with ResponseStore(folder) as store:
        await store.put(make_request("new"), Answer("x"))
        assert await store.get(request.key) is not None
    settings = dict(sql(folder, "SELECT key, value FROM Settings"))
    assert (settings["count"], settings["sqlite_mmap_size"]) == (2, 0)


@pytest.mark.parametrize("strict", [True, False])
async def test_a_store_of_a_newer_form_is_left_alone(folder: Path, *, strict: bool) -> None:
    await filled(folder, "a")
    sql(folder, "PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailableError, match=r"is of form 99, and this version.*install a newer version"):
        await ResponseStore(folder, strict=strict).open()
    assert not (folder / "damaged").exists()
    sql(folder, "PRAGMA user_version = 1")
    await filled(folder, "b")


async def test_a_database_without_a_table_is_no_store_to_replay_from(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"")
    with pytest.raises(StoreCorruptedError, match="the database is empty"):
        await ResponseStore(folder, strict=True).open()
    await filled(folder, "a")


def test_an_entry_is_spelled_as_its_parts_are_sealed() -> None:
    for ending in (Answer('naïve 猫 \\ "checksum":"x",', "stop", 3, None), Failure("RateLimitError", "slow \n")):
        entry = Entry(make_request('}{"checksum":'), ending)
        assert entry.to_bytes() == seal(entry.parts())
        assert Entry.from_bytes(entry.to_bytes(), entry.request.key).ending == ending
