"""Damaged databases: in mode record moved aside and salvaged row by row; in replay fatal, and untouched."""

import asyncio
import json
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.entry import Failure
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import RateLimitError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

COUNT = 120
PAGE = 4096
MODEL = RecordedIdentity("huggingface", "m", {"weights": "1"})
LONG = "naïve 猫 " * 900
"""Longer than a page: it overflows to others."""


def answer(number: int) -> Answer:
    return Answer(f"answer to {number}" + (LONG if number % 20 == 0 else ""), "stop", 3, 4)


async def fill(store: ResponseStore) -> None:
    await store.put_identity(MODEL)
    await asyncio.gather(*(store.put(make_request(f"{number}"), answer(number)) for number in range(COUNT)))
    await store.put_failure(make_request("failed"), RateLimitError("slow down"))


@pytest.fixture
async def recorded(folder: Path) -> Path:
    async with ResponseStore(folder) as store:
        await fill(store)
    return folder


@pytest.fixture
async def killed(folder: Path, tmp_path: Path) -> Path:
    """A store as a kill leaves it: all of it is still in the log."""
    async with ResponseStore(tmp_path / "alive") as store:
        await fill(store)
        shutil.copytree(tmp_path / "alive", folder)
    assert (folder / "cache.db-wal").stat().st_size > 50 * PAGE
    return folder


async def endings(folder: Path) -> dict[str, Answer | Failure]:
    async with ResponseStore(folder, strict=True) as store:
        return {entry.request.prompt: entry.ending async for entry in store.entries()}


def whole() -> dict[str, Answer | Failure]:
    return {f"{number}": answer(number) for number in range(COUNT)} | {"failed": Failure("RateLimitError", "slow down")}


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def cut_in_half(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // PAGE // 2 * PAGE - 100)


def without_first_page(database: Path) -> None:
    overwrite(database, 0, b"\xde\xad\xbe\xef" * (PAGE // 4))


def garbage(database: Path) -> None:
    database.write_bytes(random.Random(3).randbytes(50_000))


def short_garbage(database: Path) -> None:
    database.write_bytes(b"garbage!")


def page_in_the_middle(database: Path) -> None:
    overwrite(database, database.stat().st_size // PAGE // 2 * PAGE, random.Random(3).randbytes(PAGE))


def root_pages(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'Cache' AND rootpage > 0"
        ).fetchall()
    for (root,) in roots:
        overwrite(database, (root - 1) * PAGE, b"\xff" * PAGE)


DAMAGES = [
    (cut_in_half, 40), (without_first_page, COUNT + 1), (garbage, 0), (short_garbage, 0),
    (page_in_the_middle, COUNT - 20), (root_pages, COUNT + 1),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "least"), DAMAGES)
async def test_a_damaged_database_is_fatal_in_replay_and_mended_in_record(
    recorded: Path, damage: Callable[[Path], None], least: int, caplog: pytest.LogCaptureFixture
) -> None:
    damage(recorded / "cache.db")
    bytes_of_it = (recorded / "cache.db").read_bytes()
    with pytest.raises(StoreCorruptedError, match=r"damaged.*ants cache repair.*mode record"):
        await endings(recorded)
    assert (recorded / "cache.db").read_bytes() == bytes_of_it
    assert not (recorded / "damaged").exists()

    async with ResponseStore(recorded) as store:
        for number in range(COUNT):
            entry = await store.get(make_request(f"{number}").key)
            assert entry is None or entry.ending == answer(number)
        (done,) = store.salvages
        assert done.answers + done.failures >= least
        await fill(store)
    assert await endings(recorded) == whole()
    assert f"salvaged: {done.answers} answers" in caplog.text
    (place,) = (recorded / "damaged").iterdir()
    assert str(place) in caplog.text
    assert (place / "cache.db").read_bytes()[-PAGE:] == bytes_of_it[-PAGE:]
    assert json.loads((place / "salvaged.json").read_text())["answers"] == done.answers
    # Once mended it is a store like any other.
    async with ResponseStore(recorded) as store:
        assert store.salvages == []


async def test_one_bad_page_costs_only_its_rows_and_models_are_saved_too(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded / "cache.db")) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Cache_key_raw'").fetchone()
    overwrite(recorded / "cache.db", (root - 1) * PAGE, b"\0" * PAGE)
    async with ResponseStore(recorded) as store:
        assert await store.get_identities() == [MODEL]
        assert len(store.salvages) == 1
        assert (store.salvages[0].answers, store.salvages[0].failures, store.salvages[0].models) == (COUNT, 1, 1)
    assert await endings(recorded) == whole()


async def test_damage_that_comes_while_it_is_open_is_mended_and_what_waits_is_done(recorded: Path) -> None:
    async with ResponseStore(recorded) as store:
        assert await store.get(make_request("1").key) is not None
        cut_in_half(recorded / "cache.db")
        more = [make_request(f"more {number}") for number in range(20)]
        found = await asyncio.gather(
            *(store.get(make_request(f"{number}").key) for number in range(COUNT)),
            *(store.put(request, Answer("new")) for request in more),
        )
        assert all(entry is None or entry.ending == answer(number) for number, entry in enumerate(found[:COUNT]))
        assert len(store.salvages) == 1
        await fill(store)
    assert await endings(recorded) == whole() | {request.prompt: Answer("new") for request in more}


async def test_a_store_that_was_mended_by_another_is_opened_anew(recorded: Path) -> None:
    async with ResponseStore(recorded) as one, ResponseStore(recorded) as other:
        assert await other.get(make_request("1").key) is not None
        root_pages(recorded / "cache.db")
        await asyncio.gather(
            one.put(make_request("of one"), Answer("1")), other.put(make_request("of other"), Answer("2"))
        )
        await one.put(make_request("last"), Answer("3"))
        entry = await other.get(make_request("last").key)
        assert entry is not None
        assert len(one.salvages) + len(other.salvages) == 1
        assert len(list((recorded / "damaged").iterdir())) == 1
    found = await endings(recorded)
    assert found.items() >= {"of one": Answer("1"), "of other": Answer("2"), "last": Answer("3")}.items()
    assert len(found) > COUNT / 3


HOLDER = """
import asyncio, sys
from pathlib import Path
from ants_engine.dispatch.storage.store import ResponseStore
from tests.unit.dispatch.fakes import make_request

async def main():
    async with ResponseStore(Path(sys.argv[1])) as store:
        await store.get(make_request("1").key)
        print("open", flush=True)
        sys.stdin.readline()
    print("closed", flush=True)
asyncio.run(main())
"""


async def test_one_who_had_the_damaged_file_open_does_not_delete_the_log_of_the_fresh_one(recorded: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(recorded)]
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    async with asyncio.timeout(30):
        root_pages(recorded / "cache.db")
        async with ResponseStore(recorded) as store:
            await store.put(make_request("new"), Answer("kept"))
            assert len(store.salvages) == 1
            log = (recorded / "cache.db-wal").stat().st_ino
            out, _ = await holder.communicate(b"\n")
            assert out == b"closed\n"
            assert (recorded / "cache.db-wal").stat().st_ino == log
    assert (await endings(recorded))["new"] == Answer("kept")


def log_without_header(folder: Path) -> None:
    overwrite(folder / "cache.db-wal", 0, b"garbage!" * 4)


def log_with_a_flipped_bit(folder: Path) -> None:
    at = 32 + 10 * (PAGE + 24) + 500
    data = (folder / "cache.db-wal").read_bytes()
    overwrite(folder / "cache.db-wal", at, bytes([data[at] ^ 4]))


def log_alone(folder: Path) -> None:
    (folder / "cache.db").write_bytes(b"")


@pytest.mark.parametrize(("damage", "lost"), [(log_without_header, 0), (log_with_a_flipped_bit, 6), (log_alone, 0)])
async def test_a_damaged_log_is_not_taken_for_its_end(killed: Path, damage: Callable[[Path], None], lost: int) -> None:
    damage(killed)
    before = (killed / "cache.db-wal").read_bytes()
    with pytest.raises(StoreCorruptedError, match="log is malformed"):
        await endings(killed)
    assert (killed / "cache.db-wal").read_bytes() == before
    async with ResponseStore(killed) as store:
        assert len(store.salvages) == 1
        assert await store.get_identities() == [MODEL]
    found = await endings(killed)
    assert len(found) >= COUNT + 1 - lost
    assert found.items() <= whole().items()


async def test_the_log_of_a_killed_process_is_sound(killed: Path) -> None:
    assert await endings(killed) == whole()


async def test_a_log_whose_last_frame_was_not_finished_is_sound(killed: Path) -> None:
    with (killed / "cache.db-wal").open("ab") as log:
        log.write(b"\x01" * 2000)
    assert await endings(killed) == whole()


async def test_a_log_that_is_missing_costs_what_was_in_it_alone(killed: Path) -> None:
    (killed / "cache.db-wal").unlink()
    async with ResponseStore(killed) as store:
        await fill(store)
    assert await endings(killed) == whole()


@pytest.mark.parametrize("moved", [1, 2])
async def test_a_salvage_that_was_cut_off_is_finished(killed: Path, moved: int) -> None:
    place = killed / "damaged" / "20260101T000000Z-1"
    place.mkdir(parents=True)
    for name in ["cache.db", "cache.db-wal"][:moved]:
        (killed / name).rename(place / name)
    with pytest.raises(StoreCorruptedError, match="its repair was cut off"):
        await endings(killed)
    async with ResponseStore(killed) as store:
        assert store.salvages[0].answers == COUNT
    assert await endings(killed) == whole()


async def test_what_was_written_since_is_not_replaced_by_what_is_salvaged(recorded: Path) -> None:
    async with ResponseStore(recorded) as store:
        await store.put(make_request("failed"), Answer("at last"))
        place = recorded / "damaged" / "20260101T000000Z-1"
        place.mkdir(parents=True)
        shutil.copy(recorded / "cache.db", place / "cache.db")
        await store.put(make_request("1"), Answer("a later one"))
    async with ResponseStore(recorded) as store:
        assert len(store.salvages) == 1
    assert await endings(recorded) == whole() | {"1": Answer("a later one"), "failed": Answer("at last")}


@pytest.mark.parametrize("statement", ["CREATE VIEW v AS SELECT 1", "CREATE TABLE Other (x)"])
async def test_nothing_is_salvaged_from_what_was_doctored(recorded: Path, statement: str) -> None:
    with closing(sqlite3.connect(recorded / "cache.db")) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(StoreCorruptedError, match="do not trust it"):
        await ResponseStore(recorded).open()
    assert not (recorded / "damaged").exists()


async def test_a_link_where_damaged_files_would_go_is_refused(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (recorded / "damaged").symlink_to(tmp_path / "elsewhere")
    garbage(recorded / "cache.db")
    with pytest.raises(StoreUnavailableError, match="damaged is a link"):
        await ResponseStore(recorded).open()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("seed", range(12))
async def test_damage_anywhere_ends_well(recorded: Path, seed: int) -> None:
    chance = random.Random(seed)
    database = recorded / "cache.db"
    size = database.stat().st_size
    for _ in range(chance.choice([1, 3, 30])):
        overwrite(database, chance.randrange(size - 40), chance.randbytes(chance.choice([1, 40])))
    try:
        async with ResponseStore(recorded) as store:
            for number in range(COUNT):
                entry = await store.get(make_request(f"{number}").key)
                assert entry is None or entry.ending == answer(number)
            await store.mend()
            await fill(store)
            assert {entry.request.prompt: entry.ending async for entry in store.entries()} == whole()
    except StoreCorruptedError as error:
        # The schema's text itself was hit: that looks like a doctored one.
        assert "do not trust it" in str(error)
