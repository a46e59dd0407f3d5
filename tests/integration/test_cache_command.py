"""``ants cache verify | repair | stats | prune``, as one types them."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ants_engine.cli.main import commands
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import RateLimitError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import IDENTITY, make_request

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202e"
DAY = 86_400


def ants(folder: Path, *arguments: str, code: int = 0) -> str:
    command = ["cache", *arguments, "--set", f"dispatch.store={folder}"]
    result = CliRunner().invoke(commands, command, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    assert not set("\x1b\x07\u202e") & set(result.output)
    return result.stdout


def ants_json(folder: Path, *arguments: str, code: int = 0) -> Any:
    return json.loads(ants(folder, *arguments, "--json", code=code))


def sql(folder: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "store"

    async def fill() -> None:
        async with ResponseStore(place) as store:
            await store.put_identity(RecordedIdentity("fake", "tiny", IDENTITY))
            for number in range(12):
                await store.put(make_request(f"{number}"), Answer("x", "stop", 10, 2))
            ens = {"task": "ens", "template": "ens/v1", "identity": {"backend": "openai", "model": HOSTILE}}
            await store.put(make_request(HOSTILE, **ens), Answer(HOSTILE))
            await store.put_failure(make_request("failed"), RateLimitError("slow down"))

    asyncio.run(fill())
    return place


def prompts(folder: Path) -> set[str]:
    async def read() -> set[str]:
        async with ResponseStore(folder, strict=True) as store:
            return {entry.request.prompt async for entry in store.entries()}

    return asyncio.run(read())


def test_a_sound_store_is_found_sound_and_nothing_is_changed(folder: Path) -> None:
    before = content(folder)
    found = ants_json(folder, "verify")
    assert (found["sound"], found["answers"], found["failures"], found["damaged"]) == (True, 13, 1, [])
    assert "13 answers and 1 failures are sound" in ants(folder, "verify")
    assert content(folder) == before


def test_what_is_damaged_is_listed_with_a_reason_and_left_as_it_is(folder: Path) -> None:
    first, second = make_request("1").key, make_request("2").key
    sql(
        folder,
        "UPDATE Cache SET value = CAST(replace(CAST(value AS TEXT), '\"x\"', '\"y\"') AS BLOB) WHERE key = ?",
        first,
    )
    sql(folder, "UPDATE Cache SET mode = 4 WHERE key = ?", second)
    sql(folder, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 1, 1, x'00')", f"stray {HOSTILE}")
    (folder / f"notes {HOSTILE[:5]}").write_text("x")
    before = content(folder)
    found = ants_json(folder, "verify", code=1)
    assert not found["sound"]
    reasons = {(each["key"], each["task"], each["reason"]) for each in found["damaged"]}
    assert (first, "vsnl", "its checksum does not fit") in reasons
    assert (second, "vsnl", "the row does not hold plain bytes") in reasons
    assert len(reasons) == 4
    said = ants(folder, "verify", code=1)
    assert f"entry {first[:12]}… (vsnl): its checksum does not fit" in said
    assert "ants cache repair" in said
    assert "does not belong in the folder" in said
    assert content(folder) == before


def test_a_store_in_use_can_be_verified(folder: Path) -> None:
    async def both() -> Any:
        async with ResponseStore(folder) as store:
            await store.put(make_request("new"), Answer("x"))
            return await asyncio.to_thread(ants_json, folder, "verify")

    assert asyncio.run(both())["answers"] == 14


def test_a_damaged_database_is_found_and_repaired_and_then_found_sound(folder: Path) -> None:
    with (folder / "cache.db").open("r+b") as database:
        database.write(b"\xff" * 4096)
    found = ants_json(folder, "verify", code=1)
    assert "file is not a database" in found["damaged"][0]["reason"]
    assert not (folder / "damaged").exists()
    said = ants(folder, "repair")
    assert "salvaged: 13 answers, 1 failures" in said
    assert ants_json(folder, "verify")["answers"] == 13


def test_an_index_that_lies_is_found_and_made_anew(folder: Path) -> None:
    ((root,),) = sql(folder, "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_key_raw'")
    key = make_request("3").key.encode()
    data = bytearray((folder / "cache.db").read_bytes())
    at = data.index(key, (root - 1) * 4096)
    data[at : at + 4] = b"0000"
    (folder / "cache.db").write_bytes(data)
    reasons = [each["reason"] for each in ants_json(folder, "verify", code=1)["damaged"]]
    assert any("Cache_key_raw" in reason for reason in reasons)
    done = ants_json(folder, "repair")
    assert done["faults"]
    assert done["salvages"][0]["answers"] == done["answers"] == 13
    assert ants_json(folder, "verify")["sound"]
    assert "3" in prompts(folder)


def test_repair_moves_rows_aside_and_puts_back_what_verifies_after_all(folder: Path) -> None:
    key = make_request("1").key
    ((value,),) = sql(folder, "SELECT value FROM Cache WHERE key = ?", key)
    sql(folder, "UPDATE Cache SET value = ? WHERE key = ?", value[:-9], key)
    done = ants_json(folder, "repair")
    assert (done["moved"], done["restored"], done["answers"], done["quarantined"]) == (1, 0, 12, 1)
    assert ants_json(folder, "verify")["sound"]
    # As if a later version, which can read it, came along.
    sql(folder, "UPDATE Quarantine SET value = ?", value)
    assert "1 entries that had been moved aside verify after all" in ants(folder, "repair")
    done = ants_json(folder, "repair")
    assert (done["restored"], done["answers"], done["failures"], done["quarantined"]) == (0, 13, 1, 0)
    assert "1" in prompts(folder)


def test_what_was_answered_since_is_not_replaced_by_what_was_moved_aside(folder: Path) -> None:
    request = make_request("1")
    ((value,),) = sql(folder, "SELECT value FROM Cache WHERE key = ?", request.key)
    sql(folder, "UPDATE Cache SET mode = 4 WHERE key = ?", request.key)

    async def again() -> Any:
        async with ResponseStore(folder) as store:
            assert await store.get(request.key) is None
            await store.put(request, Answer("a later one"))

    asyncio.run(again())
    sql(folder, "UPDATE Quarantine SET value = ?, mode = 1", value)
    assert ants_json(folder, "repair")["restored"] == 0

    async def read() -> Any:
        async with ResponseStore(folder) as store:
            return await store.get(request.key)

    assert asyncio.run(read()).ending == Answer("a later one")


@pytest.mark.parametrize("command", ["verify", "repair", "stats"])
def test_where_there_is_no_store_none_is_made(tmp_path: Path, command: str) -> None:
    with pytest.raises(StoreUnavailableError, match="no response store is there"):
        ants(tmp_path / "none", command)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_a_doctored_store_is_neither_verified_nor_repaired(folder: Path, command: str) -> None:
    sql(folder, "CREATE VIEW v AS SELECT 1")
    with pytest.raises(StoreCorruptedError, match="do not trust it"):
        ants(folder, command)


def test_stats_count_by_task_template_and_model(folder: Path) -> None:
    counted = ants_json(folder, "stats")
    assert counted["answers"] == {"vsnl": 12, "ens": 1}
    assert counted["failures"] == {"vsnl": 1}
    assert counted["templates"] == {"vsnl/v1": 13, "ens/v1": 1}
    assert counted["models"]["fake tiny"] == 13
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (120, 24)
    assert counted["size"] > 1000
    assert counted["oldest"] <= counted["newest"]
    said = ants(folder, "stats")
    assert "13 answers, 1 failures" in said
    assert "template vsnl/v1: 13" in said


CHOICES = [
    (["--task", "ens"], {HOSTILE}),
    (["--template", "vsnl/v1", "--failures"], {"failed"}),
    (["--failures"], {"failed"}),
    (["--model", "tiny", "--task", "ens"], set()),
    (["--model", HOSTILE], {HOSTILE}),
    (["--model", "tiny"], {*map(str, range(12)), "failed"}),
    (["--older-than", "30d"], {"0", "1"}),
    (["--older-than", "1w", "--task", "ens"], set()),
    (["--task", "en"], set()),
]


@pytest.mark.parametrize(("options", "gone"), CHOICES)
def test_prune_lists_and_with_yes_removes_what_is_named_and_nothing_else(
    folder: Path, options: list[str], gone: set[str]
) -> None:
    for prompt in "01":
        sql(folder, "UPDATE Cache SET store_time = store_time - ? WHERE key = ?", 31 * DAY, make_request(prompt).key)
    everything = prompts(folder)
    assert f"{len(gone)} entries would be removed" in ants(folder, "prune", *options)
    assert prompts(folder) == everything
    assert f"{len(gone)} entries removed" in ants(folder, "prune", *options, "--yes")
    assert prompts(folder) == everything - gone
    assert ants_json(folder, "verify")["sound"]


def test_what_is_pruned_leaves_the_disk(folder: Path) -> None:
    async def more() -> None:
        async with ResponseStore(folder) as store:
            requests = [make_request(f"secret {number}", task="ens") for number in range(200)]
            await asyncio.gather(*(store.put(request, Answer("confidential" * 40)) for request in requests))

    asyncio.run(more())
    before = (folder / "cache.db").stat().st_size
    done = ants_json(folder, "prune", "--task", "ens", "--yes")
    assert done["removed"] == len(done["selected"]) == 201
    assert (folder / "cache.db").stat().st_size < before / 3
    assert not [name for name, data in content(folder).items() if b"confidential" in data]


@pytest.mark.parametrize("options", [[], ["--yes"], ["--older-than", "soon"], ["--older-than", "30"]])
def test_prune_wants_to_be_told_what_may_go(folder: Path, options: list[str]) -> None:
    with pytest.raises(click.UsageError, match=r"say what may go|write a number and m, h, d or w"):
        ants(folder, "prune", *options)
    assert len(prompts(folder)) == 14
