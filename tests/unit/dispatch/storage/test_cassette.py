"""Cassettes: the same store makes the same file, and a file that is not whole changes nothing."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage import cassette
from ants_engine.dispatch.storage.cassette import export, import_
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import BackendTimeoutError, CassetteError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import IDENTITY, PICTURE, make_request

NASTY = 'He said: "猫"\n\u2028\x85\x1b[31m\x00</script> $x {0}'


@pytest.fixture
async def tape(tmp_path: Path) -> Path:
    async with ResponseStore(tmp_path / "origin") as store:
        for number in range(12):
            await store.put(make_request(f"{number}"), Answer(f"answer {number}", "stop", number, None))
        shown = {"task": "ens", "template": "ens/v1", "picture": PICTURE, "picture_sha256": PICTURE.sha256}
        await store.put(make_request(NASTY, **shown, label="/home/me/cat.png"), Answer(NASTY))
        await store.put_failure(make_request("failed"), BackendTimeoutError("no answer within 3 s"))
        await store.put_identity(RecordedIdentity("fake", "tiny", IDENTITY, pictures=True, text_only=False))
        await store.put_identity(RecordedIdentity("fake", "tiny", IDENTITY | {"more": "猫"}))
        assert await export(store, tmp_path / "tape.jsonl") == 14
    return tmp_path / "tape.jsonl"


async def test_a_cassette_makes_a_store_that_makes_the_same_cassette(tape: Path, folder: Path) -> None:
    async with ResponseStore(folder) as store:
        assert await import_(tape, store) == 14
        assert await export(store, tape.with_name("again.jsonl")) == 14
        entry = await store.get(make_request("3").key)
        assert entry is not None
        assert entry.ending == Answer("answer 3", "stop", 3, None)
        assert await import_(tape, store) == 14
        assert await export(store, tape.with_name("third.jsonl")) == 14
    assert tape.read_bytes() == tape.with_name("again.jsonl").read_bytes() == tape.with_name("third.jsonl").read_bytes()
    assert not list(tape.parent.glob(".*.tmp"))


async def test_it_is_one_readable_line_per_answer_in_order(tape: Path) -> None:
    header, *lines = tape.read_bytes().removesuffix(b"\n").split(b"\n")
    assert json.loads(header)["count"] == len(lines) == 14
    parsed = [json.loads(line) for line in lines]
    assert [each["request"]["task"] for each in parsed] == ["ens"] + ["vsnl"] * 13
    keys = [each["key"] for each in parsed[1:]]
    assert keys == sorted(keys)
    assert parsed[0]["answer"]["text"] == NASTY
    assert "猫".encode() in lines[0]
    for forbidden in (b"\x1b", b"\x00", "\u2028".encode(), "\x85".encode(), b"PNG", b"/home/me"):
        assert forbidden not in tape.read_bytes()


def cut_at(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


def without_last_line(data: bytes) -> bytes:
    return data[: data[:-1].rindex(b"\n") + 1]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return change


def doctored_key(data: bytes) -> bytes:
    at = data.index(b'"key":"') + 7
    return data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (cut_at(0), "line 1: the file is cut off"),
        (cut_at(20), "line 1: the file is cut off"),
        (cut_at(-1), "line 15: the file is cut off"),
        (cut_at(-30), "line 15: the file is cut off"),
        (without_last_line, "line 15: the file is cut off"),
        (lambda data: data + b"{}\n", "line 16: more lines than the 14"),
        (doctored_key, "line 2: the key does not belong to the request"),
        (replaced(b'"text":"answer 3"', b'"text":"answer 4"'), "its checksum does not fit"),
        (replaced(b'"prompt":"3"', b'"prompt":"4"'), "the key does not belong to the request"),
        (replaced(b'"max_new_tokens":16', b'"max_new_tokens":17'), "the key does not belong to the request"),
        (replaced(b'"text":"answer 3"', b'"text":3'), r"line \d+: text: Input should be a valid string"),
        (replaced(b'"finish_reason":"stop"', b'"finish_reason":"error"'), "line 2: finish_reason"),
        (replaced(b'"prompt_tokens":3', b'"prompt_tokens":3,"x":1'), "x: Extra inputs"),
        (replaced(b'"answer":', b'"result":'), "not a request with an answer or a failure"),
        (replaced(b"BackendTimeoutError", b"ZeroDivisionError"), "not an error of a backend"),
        (replaced(b"BackendTimeoutError", b"ANTSError"), "not an error of a backend"),
        (replaced(b'{"key"', b'{"key'), "line 2: not JSON"),
        (replaced(b'\n{"key"', b"\n" + b"[" * 20_000 + b'\n{"key"'), "line 2: not JSON"),
        (replaced(b'\n{"key"', b'\n[]\n{"key"'), "line 2: not a JSON object"),
        (replaced(b"answer 3", b"answer \xff"), "not JSON in UTF-8"),
        (replaced(b"ants-cassette", b"vcr"), "line 1: not a cassette"),
        (
            replaced(b'"version":2', b'"version":3'),
            "line 1: this version of ants_engine reads cassettes of the versions 1 to 2",
        ),
        (replaced(b'"count":14', b'"count":-1'), "line 1: its fields"),
        (replaced(b'"count":14', b'"count":15'), "line 16: the file is cut off"),
        (replaced(b'"model":"tiny"', b'"model":7'), r"line 1: identity\.model"),
    ],
)
async def test_a_cassette_that_is_not_whole_changes_nothing(
    tape: Path, folder: Path, change: Callable[[bytes], bytes], complaint: str
) -> None:
    tape.write_bytes(change(tape.read_bytes()))
    async with ResponseStore(folder) as store:
        await store.put(make_request("mine"), Answer("kept"))
        with pytest.raises(CassetteError, match=rf"tape\.jsonl.*{complaint}"):
            await import_(tape, store)
        assert [entry.ending async for entry in store.entries()] == [Answer("kept")]
        assert await store.get_identities() == []


async def test_a_line_without_end_is_not_read_to_its_end(
    tape: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cassette, "MAX_LINE_BYTES", 400)
    async with ResponseStore(folder) as store:
        with pytest.raises(CassetteError, match="line 1: longer than 400 bytes"):
            await import_(tape, store)


async def test_an_imported_answer_replaces_and_an_imported_failure_does_not(tape: Path, folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put(make_request("3"), Answer("mine"))
        await store.put(make_request("failed"), Answer("mine"))
        await import_(tape, store)
        endings = {entry.request.prompt: entry.ending async for entry in store.entries()}
    assert endings["3"] == Answer("answer 3", "stop", 3, None)
    assert endings["failed"] == Answer("mine")


async def test_answers_put_while_an_import_fails_are_kept(tape: Path, folder: Path) -> None:
    tape.write_bytes(tape.read_bytes()[:-5])
    async with ResponseStore(folder) as store:
        results = await asyncio.gather(
            store.put(make_request("a"), Answer("x")),
            import_(tape, store),
            store.put(make_request("b"), Answer("x")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), CassetteError, type(None)]
        assert len([entry async for entry in store.entries()]) == 2


async def test_an_export_that_fails_leaves_the_file_as_it_was(tape: Path, folder: Path) -> None:
    before = tape.read_bytes()
    store = ResponseStore(folder)
    with pytest.raises(StoreUnavailableError):
        await export(store, tape)
    assert tape.read_bytes() == before
    async with store:
        with pytest.raises(CassetteError, match="cannot be written"):
            await export(store, tape.parent / "no folder" / "tape.jsonl")
        with pytest.raises(CassetteError, match="cannot be read"):
            await import_(tape.parent / "none.jsonl", store)
    assert sorted(path.name for path in tape.parent.glob("*tape*")) == ["tape.jsonl"]


async def test_what_a_killed_export_left_holds_no_later_one_up(tape: Path, tmp_path: Path) -> None:
    """A container that restarts gives its processes the same numbers."""
    tape.unlink()
    for left in (f".{tape.name}.{os.getpid()}.tmp", f".{tape.name}.{os.getpid()}", f".{tape.name}"):
        (tmp_path / left).write_bytes(b"half of it")
    async with ResponseStore(tmp_path / "origin") as store:
        for _ in range(2):
            assert await export(store, tape) == 14
    assert len(list(tmp_path.glob(f".{tape.name}*"))) == 3, "nothing of its own is left"


VERSION_1 = (
    '{"format": "ants-cassette", "version": 1, "count": 1, "models": []}\n'
    '{"key": "KEY", "request": REQUEST, "answer": {"text": "of old", "finish_reason": "stop", '
    '"prompt_tokens": 3, "completion_tokens": null}}\n'
)


async def test_a_cassette_of_an_earlier_version_is_read(tmp_path: Path, folder: Path) -> None:
    request = make_request("old")
    tape = tmp_path / "old.jsonl"
    tape.write_text(VERSION_1.replace("KEY", request.key).replace("REQUEST", json.dumps(request.payload())))
    async with ResponseStore(folder) as store:
        assert await import_(tape, store) == 1
        assert [entry.ending async for entry in store.entries()] == [Answer("of old", "stop", 3, None)]


async def test_a_journal_is_a_cassette(tape: Path, folder: Path) -> None:
    journal = tape.parent / "origin" / "journal.jsonl"
    with journal.open("ab") as file:
        # as a kill leaves it
        file.write(b'{"key":"0123')
    async with ResponseStore(folder) as store:
        assert await import_(journal, store) == 14
        assert len(await store.get_identities()) == 2
        await export(store, tape.with_name("again.jsonl"))
    assert tape.read_bytes() == tape.with_name("again.jsonl").read_bytes()
