"""``ants store verify | repair | stats | prune``, as one types them."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ants_engine.cli.main import commands
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import Entry, key_of
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import RateLimitError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import IDENTITY, make_request

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202e"
DAY = 86_400


def ants(folder: Path, *arguments: str, code: int = 0) -> str:
    command = ["store", *arguments, "--set", f"dispatch.store={folder}"]
    result = CliRunner().invoke(commands, command, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    assert not set("\x1b\x07\u202e") & set(result.output)
    return result.stdout


def ants_json(folder: Path, *arguments: str, code: int = 0) -> Any:
    return json.loads(ants(folder, *arguments, "--json", code=code))


def change(folder: Path, old: bytes, new: bytes) -> None:
    data = (folder / "journal.jsonl").read_bytes()
    assert old in data
    (folder / "journal.jsonl").write_bytes(data.replace(old, new, 1))


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
    first = make_request("1").key
    change(folder, b'"prompt":"1"', b'"prompt":"7"')
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(f"stray {HOSTILE}\n".encode())
    (folder / f"notes {HOSTILE[:5]}").write_text("x")
    before = content(folder)
    found = ants_json(folder, "verify", code=1)
    assert not found["sound"]
    reasons = {(each["key"], each["task"], each["reason"]) for each in found["damaged"]}
    assert (first, "vsnl", "its checksum does not fit") in reasons
    assert len(reasons) == 3
    said = ants(folder, "verify", code=1)
    assert f"entry {first[:12]}… (vsnl): its checksum does not fit" in said
    assert "ants store repair" in said
    assert "does not belong in the folder" in said
    assert content(folder) == before


def test_a_store_in_use_can_be_verified(folder: Path) -> None:
    async def both() -> Any:
        async with ResponseStore(folder) as store:
            await store.put(make_request("new"), Answer("x"))
            return await asyncio.to_thread(ants_json, folder, "verify")

    assert asyncio.run(both())["answers"] == 14


def test_a_damaged_journal_is_found_and_repaired_and_then_found_sound(folder: Path) -> None:
    change(folder, b'"ants-cassette"', b'"ants-cassettf"')
    change(folder, b'"prompt":"1"', b'"prompt":"7"')
    found = ants_json(folder, "verify", code=1)
    assert "first line is not a header" in found["damaged"][0]["reason"]
    said = ants(folder, "repair")
    assert "1 damaged lines moved to damaged.jsonl" in said
    assert "12 answers, 1 failures, all sound" in said
    assert ants_json(folder, "verify")["answers"] == 12
    assert b'"prompt":"7"' in (folder / "damaged.jsonl").read_bytes()
    assert ants_json(folder, "repair") == {"store": str(folder), "answers": 12, "failures": 1, "moved": 0}


@pytest.mark.parametrize("command", ["verify", "repair", "stats"])
def test_where_there_is_no_store_none_is_made(tmp_path: Path, command: str) -> None:
    with pytest.raises(StoreUnavailableError, match="no response store is there"):
        ants(tmp_path / "none", command)
    assert not (tmp_path / "none").exists()


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


def age(folder: Path, key: str, seconds: float) -> None:
    """Let an entry have been stored earlier."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if key_of(line) == key:
            entry = Entry.from_line(line)
            lines[number] = replace(entry, stored_at=(entry.stored_at or 0.0) - seconds).to_line()
    (folder / "journal.jsonl").write_bytes(b"".join(lines))


@pytest.mark.parametrize(("options", "gone"), CHOICES)
def test_prune_lists_and_with_yes_removes_what_is_named_and_nothing_else(
    folder: Path, options: list[str], gone: set[str]
) -> None:
    for prompt in "01":
        age(folder, make_request(prompt).key, 31 * DAY)
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
    before = (folder / "journal.jsonl").stat().st_size
    done = ants_json(folder, "prune", "--task", "ens", "--yes")
    assert done["removed"] == len(done["selected"]) == 201
    assert (folder / "journal.jsonl").stat().st_size < before / 3
    assert not [name for name, data in content(folder).items() if b"confidential" in data]


@pytest.mark.parametrize("options", [[], ["--yes"], ["--older-than", "soon"], ["--older-than", "30"]])
def test_prune_wants_to_be_told_what_may_go(folder: Path, options: list[str]) -> None:
    with pytest.raises(click.UsageError, match=r"say what may go|write a number and m, h, d or w"):
        ants(folder, "prune", *options)
    assert len(prompts(folder)) == 14


def test_the_name_of_old_still_works_and_is_not_listed(tmp_path: Path) -> None:
    listed = CliRunner().invoke(commands, ["--help"]).output
    assert "\n  store " in listed
    assert "\n  cache " not in listed
    for name in ("store", "cache"):
        found = CliRunner().invoke(commands, [name, "verify", "--set", f"dispatch.store={tmp_path / 'none'}"])
        assert isinstance(found.exception, StoreUnavailableError)
