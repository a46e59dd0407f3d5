"""The journal and its index: cut off, damaged, replaced or doctored, what is sound is found; and older stores."""

import asyncio
import os
import pickle
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ants_engine.common.canonical_json import canonical, digest
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage import journal
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.storage.upkeep import repair, verify
from ants_engine.errors import RateLimitError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

COUNT = 120
MODEL = RecordedIdentity("huggingface", "m", {"weights": "1"})
EXECUTED: list[str] = []


def execute(word: str) -> str:
    """Leave a trace. By its name: a pickle of a bound method would hold a copy of the list."""
    EXECUTED.append(word)
    return word


class Bomb:
    """Unpickling one of these leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (execute, ("boom",))


def answer(number: int) -> Answer:
    return Answer(f"answer to {number}" + ("naïve 猫 " * 900 if number % 20 == 0 else ""), "stop", 3, 4)


async def fill(store: ResponseStore, first: int = 0, count: int = COUNT) -> None:
    await store.put_identity(MODEL)
    await asyncio.gather(
        *(store.put(make_request(f"{number}"), answer(number)) for number in range(first, first + count))
    )
    await store.put_failure(make_request("failed"), RateLimitError("slow down"))


@pytest.fixture
async def recorded(folder: Path) -> Path:
    async with ResponseStore(folder) as store:
        await fill(store)
    return folder


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an index for small stores too."""
    monkeypatch.setattr(journal, "INDEXED_FROM", 1)
    monkeypatch.setattr(journal, "INDEXED_AFTER", 50)


async def endings(folder: Path, *, strict: bool = True) -> dict[str, Answer | Failure]:
    async with ResponseStore(folder, strict=strict) as store:
        return {entry.request.prompt: entry.ending async for entry in store.entries()}


def whole() -> dict[str, Answer | Failure]:
    return {f"{number}": answer(number) for number in range(COUNT)} | {"failed": Failure("RateLimitError", "slow down")}


def change(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("size", [0, 1, 30, 75, 76, 200])
async def test_a_line_that_a_kill_cut_off_is_no_damage_and_removed_by_the_next_who_writes(
    recorded: Path, size: int
) -> None:
    path = recorded / "journal.jsonl"
    before = path.read_bytes()
    cut = Entry(make_request("cut off"), Answer("x" * 300), 1.0).to_line()[:size]
    change(path, lambda data: data + cut)
    assert await endings(recorded) == whole()
    assert not verify(recorded).damaged
    assert path.read_bytes() == before + cut
    async with ResponseStore(recorded) as store:
        await store.put(make_request("new"), Answer("x"))
    assert path.read_bytes().startswith(before + b'{"key":"' + make_request("new").key.encode())
    assert await endings(recorded) == whole() | {"new": Answer("x")}


async def test_a_last_line_that_lacks_only_its_end_is_kept(recorded: Path) -> None:
    change(recorded / "journal.jsonl", lambda data: data[:-1])
    async with ResponseStore(recorded) as store:
        await store.put(make_request("new"), Answer("x"))
    assert await endings(recorded) == whole() | {"new": Answer("x")}


async def test_a_long_tail_without_a_line_is_kept_as_damage_and_not_thrown_away(recorded: Path) -> None:
    change(recorded / "journal.jsonl", lambda data: data + b"\0" * 5_000_000)
    async with ResponseStore(recorded) as store:
        await store.put(make_request("new"), Answer("x"))
        assert await store.get(make_request("new").key) is not None
    assert (recorded / "journal.jsonl").stat().st_size > 5_000_000
    assert len(verify(recorded).damaged) == 1
    assert await endings(recorded, strict=False) == whole() | {"new": Answer("x")}


@pytest.mark.parametrize("header", [b"", b"{}", b'{"format": "vcr", "version": 2}', b"\xff\xfe", b"[" * 5000])
async def test_without_its_first_line_it_is_still_a_list_of_answers(recorded: Path, header: bytes) -> None:
    path = recorded / "journal.jsonl"
    change(path, lambda data: header + data[data.index(b"\n") :])
    before = path.read_bytes()
    with pytest.raises(StoreCorruptedError, match=r"damaged.*ants store repair.*mode record"):
        await endings(recorded)
    assert path.read_bytes() == before
    assert await endings(recorded, strict=False) == whole()
    repair(recorded)
    assert await endings(recorded) == whole()


@pytest.mark.parametrize("seed", range(12))
async def test_damage_anywhere_costs_no_more_than_the_lines_it_hits(recorded: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = recorded / "journal.jsonl"
    hits = chance.choice([1, 3, 30])
    data = bytearray(path.read_bytes())
    for _ in range(hits):
        at, size = chance.randrange(len(data) - 40), chance.choice([1, 40])
        data[at : at + size] = chance.randbytes(size)
    path.write_bytes(data)
    found = await endings(recorded, strict=False)
    assert found.items() <= whole().items()
    # a hit may take the end between two lines, or end one in the middle
    assert len(found) >= COUNT + 1 - 2 * hits
    async with ResponseStore(recorded) as store:
        await fill(store)
    assert await endings(recorded, strict=False) == whole()
    done = repair(recorded)
    assert (done.answers, done.failures) == (COUNT, 1)
    assert not verify(recorded).damaged
    assert await endings(recorded) == whole()


async def test_two_who_find_the_first_line_damaged_lose_nothing_of_each_other(recorded: Path) -> None:
    change(recorded / "journal.jsonl", lambda data: b"junk" + data)
    stores = [ResponseStore(recorded) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.put(make_request(f"of {n}"), Answer("x")) for n, store in enumerate(stores)))
    for store in stores:
        await store.aclose()
    assert await endings(recorded) == whole() | {f"of {n}": Answer("x") for n in range(4)}


async def test_repair_moves_what_is_damaged_beside_the_journal(recorded: Path) -> None:
    change(recorded / "journal.jsonl", lambda data: data.replace(b"answer to 7", b"enswer to 7") + b"junk\n")
    reasons = [(each.task, each.reason) for each in verify(recorded).damaged]
    assert reasons[0] == ("vsnl", "its checksum does not fit")
    done = repair(recorded)
    assert done.moved == len(reasons)
    assert b"enswer to 7" in (recorded / "damaged.jsonl").read_bytes()
    assert (recorded / "damaged.jsonl").read_bytes().endswith(b"junk\n")
    assert repair(recorded).moved == 0
    assert not verify(recorded).damaged


async def test_a_journal_replaced_by_another_process_is_read_anew(recorded: Path) -> None:
    async with ResponseStore(recorded) as one, ResponseStore(recorded) as other:
        assert await other.get(make_request("1").key) is not None
        assert await one.remove([make_request("1").key, make_request("2").key, "0" * 64]) == 2
        assert await other.get(make_request("1").key) is None
        await asyncio.gather(other.put(make_request("of other"), Answer("2")), one.put(make_request("1"), Answer("3")))
        entry = await other.get(make_request("1").key)
        assert entry is not None
        assert entry.ending == Answer("3")
    found = await endings(recorded)
    expected = whole() | {"of other": Answer("2"), "1": Answer("3")}
    del expected["2"]
    assert found == expected


async def test_what_later_lines_replaced_goes_with_what_is_removed(recorded: Path) -> None:
    async with ResponseStore(recorded) as store:
        for number in range(5):
            await store.put(make_request("1"), Answer(f"answer of time {number}"))
        assert verify(recorded).replaced == 5
        await store.remove([make_request("2").key])
    assert verify(recorded).replaced == 0
    assert (await endings(recorded))["1"] == Answer("answer of time 4")
    assert b"of time 3" not in (recorded / "journal.jsonl").read_bytes()


@pytest.mark.usefixtures("indexed")
async def test_what_the_index_covers_is_found_without_reading_the_journal_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ResponseStore(folder) as store:
        await fill(store)
    assert (folder / "index").is_dir()
    read: list[int] = []
    original = journal._lines
    monkeypatch.setattr(journal, "_lines", lambda file, start: read.append(start) or original(file, start))
    async with ResponseStore(folder) as store:
        for number in range(COUNT):
            entry = await store.get(make_request(f"{number}").key)
            assert entry is not None
            assert entry.ending == answer(number)
        assert await store.get_identities() == [MODEL]
        # a failure replaces no answer of the index's either
        await store.put_failure(make_request("1"), RateLimitError("slow down"))
        await store.put(make_request("new"), Answer("x"))
        assert {entry.request.prompt async for entry in store.entries()} == {*whole(), "new"}
    assert min(read, default=1) > 0
    assert await endings(folder) == whole() | {"new": Answer("x")}


def sql(folder: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(folder / "index" / "cache.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def garbage(folder: Path) -> None:
    (folder / "index" / "cache.db").write_bytes(random.Random(3).randbytes(50_000))


def of_a_damaged_page(folder: Path) -> None:
    path = folder / "index" / "cache.db"
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = b"\xff" * 4096
    path.write_bytes(data)


def deleted(folder: Path) -> None:
    (folder / "index" / "cache.db").unlink()
    (folder / "index").rmdir()


def of_a_later_version(folder: Path) -> None:
    ((mark,),) = sql(folder, "SELECT value FROM Cache WHERE key = ?", "0" * 64)
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", mark.replace(b'"version": 1', b'"version": 2'), "0" * 64)


def of_another_journal(folder: Path) -> None:
    ((mark,),) = sql(folder, "SELECT value FROM Cache WHERE key = ?", "0" * 64)
    changed = mark.replace(b'"journal": "', b'"journal": "0')
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", changed, "0" * 64)


def behind(folder: Path) -> None:
    async def more() -> None:
        async with ResponseStore(folder) as store:
            await fill(store, COUNT, 20)

    saved = (folder / "index" / "cache.db").read_bytes()
    asyncio.run(more())
    (folder / "index" / "cache.db").write_bytes(saved)


def without_a_mark(folder: Path) -> None:
    sql(folder, "DELETE FROM Cache WHERE key = ?", "0" * 64)


def pickles(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET mode = 4, value = ?", pickle.dumps(Bomb()))


def pickled_keys(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET raw = 0, key = CAST(? || rowid AS BLOB)", pickle.dumps(Bomb()))


def files(folder: Path) -> None:
    (folder.parent / "secret").write_text("untouched")
    sql(folder, "UPDATE Cache SET mode = 2, value = NULL, filename = '../../secret'")


def wrong_places(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET value = x'00000000000000000100000000000000' WHERE key <> ?", "0" * 64)


def impossible_places(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET value = x'ffffffffffffff7fffffffffffffff7f' WHERE key <> ?", "0" * 64)


def no_places(folder: Path) -> None:
    sql(folder, "UPDATE Cache SET value = x'00' WHERE key <> ?", "0" * 64)


def settings(folder: Path) -> None:
    sql(folder, "UPDATE Settings SET value = 'least-recently-used' WHERE key = 'eviction_policy'")
    sql(folder, "UPDATE Settings SET value = 1 WHERE key IN ('cull_limit', 'size_limit', 'disk_min_file_size')")
    sql(folder, "INSERT OR REPLACE INTO Settings VALUES ('sqlite_writable_schema', 1)")


FAULTS = [
    garbage, of_a_damaged_page, deleted, of_a_later_version, of_another_journal, behind, without_a_mark, pickles,
    pickled_keys, files, wrong_places, impossible_places, no_places, settings,
]  # fmt: skip


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_is_wrong_with_the_index_costs_no_answer(folder: Path, fault: Callable[[Path], None]) -> None:
    EXECUTED.clear()

    async def first() -> None:
        async with ResponseStore(folder) as store:
            await fill(store)

    async def look() -> None:
        async with ResponseStore(folder) as store:
            for number in range(COUNT):
                entry = await store.get(make_request(f"{number}").key)
                assert entry is not None
                assert entry.ending == answer(number)
            assert await store.get_identities() == [MODEL]
            await fill(store, 1000, 60)
            assert len([entry async for entry in store.entries()]) >= COUNT + 60
            for number in (3, 1000, 1059):
                entry = await store.get(make_request(f"{number}").key)
                assert entry is not None
                assert entry.ending == answer(number)

    asyncio.run(first())
    fault(folder)
    asyncio.run(look())
    assert asyncio.run(endings(folder)).items() >= whole().items()
    assert not EXECUTED
    if fault is files:
        assert (folder.parent / "secret").read_text() == "untouched"


@pytest.mark.usefixtures("indexed")
async def test_a_truncated_journal_is_not_looked_at_through_the_index_of_the_whole_one(recorded: Path) -> None:
    path = recorded / "journal.jsonl"
    change(path, lambda data: data[: len(data) // 2])
    kept = await endings(recorded, strict=False)
    assert 20 < len(kept) < COUNT
    assert kept.items() <= whole().items()
    async with ResponseStore(recorded) as store:
        await fill(store)
    assert await endings(recorded) == whole()
    assert await endings(recorded, strict=False) == whole()


@pytest.mark.usefixtures("indexed")
async def test_two_who_write_keep_one_index(folder: Path) -> None:
    async with ResponseStore(folder) as one, ResponseStore(folder) as other:
        for start in range(0, COUNT, 20):
            await asyncio.gather(fill(one, start, 20), fill(other, start + 1000, 20))
        for store in (one, other):
            for number in (*range(COUNT), *range(1000, 1000 + COUNT)):
                entry = await store.get(make_request(f"{number}").key)
                assert entry is not None
                assert entry.ending == answer(number)
    assert len(await endings(folder, strict=False)) == 2 * COUNT + 1


@pytest.mark.usefixtures("indexed")
async def test_an_index_that_is_a_link_is_refused(recorded: Path, tmp_path: Path) -> None:
    deleted(recorded)
    (tmp_path / "elsewhere").mkdir()
    (recorded / "index").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailableError, match="index is a link"):
        await ResponseStore(recorded).open()
    assert not list((tmp_path / "elsewhere").iterdir())


OLDER = """
CREATE TABLE Settings ( key TEXT NOT NULL UNIQUE, value);
CREATE TABLE Cache ( rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,
    access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,
    filename TEXT, value BLOB);
CREATE UNIQUE INDEX Cache_key_raw ON Cache(key, raw);
"""


def sealed(parts: dict[str, Any]) -> bytes:
    content = {**parts, "schema": 1}
    return canonical({**content, "checksum": digest(canonical(content))}).encode()


def older(folder: Path, count: int = 30) -> None:
    """Make a store as version 0.1 left it, with rows that nobody should have written."""
    folder.mkdir()
    put = "INSERT INTO Cache (key, raw, store_time, mode, value) VALUES (?, 1, ?, ?, ?)"
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.executescript(OLDER)
        for number in range(count):
            entry = Entry(make_request(f"old {number}"), Answer(f"of old {number}", "stop", 3, None))
            connection.execute(put, (entry.request.key, 1.7e9 + number, 1, sealed(entry.parts())))
        failed = Entry(make_request("failed"), Failure("RateLimitError", "slow down"))
        connection.execute(put, (failed.request.key, 1.7e9, 1, sealed(failed.parts())))
        models = sealed({"identities": [MODEL.parts()]})
        connection.execute(put, (digest(canonical("identities")), 1.7e9, 1, models))
        connection.execute(put, ("a" * 64, 1.7e9, 4, pickle.dumps(Bomb())))
        connection.execute(put, ("b" * 64, 1.7e9, 1, b"{}"))
        connection.execute(put, ("c" * 64, 1.7e9, 1, sealed(failed.parts())))
    (folder / "open.lock").touch()


def all_of_old(count: int = 30) -> dict[str, Answer | Failure]:
    found: dict[str, Answer | Failure] = {
        f"old {number}": Answer(f"of old {number}", "stop", 3, None) for number in range(count)
    }
    return found | {"failed": Failure("RateLimitError", "slow down")}


@pytest.mark.parametrize("strict", [True, False])
async def test_a_store_of_an_earlier_version_is_carried_over_once(
    folder: Path, caplog: pytest.LogCaptureFixture, *, strict: bool
) -> None:
    EXECUTED.clear()
    older(folder)
    async with ResponseStore(folder, strict=strict) as store:
        entries = [entry async for entry in store.entries()]
        assert {entry.request.prompt: entry.ending for entry in entries} == all_of_old()
        assert {entry.stored_at for entry in entries} >= {1.7e9 + number for number in range(30)}
        assert await store.get_identities() == [MODEL]
    assert "carried over" in caplog.text
    assert "2 of" in caplog.text
    assert {each.name for each in (folder / "older").iterdir()} == {"cache.db", "open.lock"}
    caplog.clear()
    async with ResponseStore(folder) as store:
        await store.put(make_request("new"), Answer("x"))
    assert await endings(folder) == all_of_old() | {"new": Answer("x")}
    assert not caplog.text
    assert not EXECUTED
    assert not verify(folder).damaged


async def test_of_a_damaged_store_of_an_earlier_version_what_can_be_read_is_kept(folder: Path) -> None:
    older(folder, 600)
    path = folder / "cache.db"
    data = bytearray(path.read_bytes())
    at = len(data) // 4096 * 3 // 4 * 4096
    data[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    found = await endings(folder, strict=False)
    assert 50 < len(found) < 602
    assert found.items() <= all_of_old(600).items()
    assert (folder / "older" / "cache.db").read_bytes() == bytes(data)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX only")
async def test_what_is_no_database_is_kept_beside_an_empty_journal(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"garbage!" * 1000)
    assert await endings(folder, strict=False) == {}
    assert (folder / "older" / "cache.db").read_bytes() == b"garbage!" * 1000
