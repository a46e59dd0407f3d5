"""The store: what is put is found, and what is damaged is noticed."""

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import Entry, Failure
from ants_engine.dispatch.storage.journal import Journal
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import BackendTimeoutError, RateLimitError, StoreCorruptedError, StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request


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
    original = Journal.refresh

    def watched(self: Journal, *args: Any) -> Any:
        seen.add(threading.current_thread().name)
        return original(self, *args)

    monkeypatch.setattr(Journal, "refresh", watched)
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


async def test_a_store_is_one_readable_file_with_a_line_for_each_answer(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put(make_request("a"), Answer("猫" * 20_000))
        await store.put(make_request("b"), Answer("x\n\u2028"))
    assert {path.name for path in folder.iterdir()} == {"journal.jsonl", "store.lock"}
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line).get("answer", {}).get("text") for line in lines[:-1]] == [None, "猫" * 20_000, "x\n\u2028"]
    assert "猫" in lines[1]


async def test_a_closed_store_says_so(folder: Path) -> None:
    store = ResponseStore(folder)
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await store.get("ab" * 32)
    await store.open()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await store.put(make_request(), Answer("x"))


def line_of(folder: Path, key: str) -> bytes:
    (line,) = [line for line in lines_of(folder) if line.startswith(b'{"key":"' + key.encode())]
    return line


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "journal.jsonl").read_bytes().split(b"\n")


def change_line(folder: Path, key: str, change: Callable[[bytes], bytes]) -> None:
    line = line_of(folder, key)
    (folder / "journal.jsonl").write_bytes(
        b"\n".join(change(each) if each == line else each for each in lines_of(folder))
    )


def sealed(parts: dict[str, Any]) -> bytes:
    """Spell a line with a checksum that fits, whatever it says."""
    parts.pop("checksum", None)
    body = json.dumps(parts, separators=(",", ":")).encode()[:-1]
    return body + b',"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'


def resealed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(line: bytes) -> bytes:
        parts = json.loads(line)
        change(parts)
        return sealed(parts)

    return changed


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda line: line.replace(b"answer to", b"enswer to"),
    "a flipped bit of the checksum": lambda line: line[:-3] + bytes([line[-3] ^ 1]) + line[-2:],
    "cut off": lambda line: line[:-20],
    "cut off behind its key": lambda line: line[:76],
    "bad UTF-8": lambda line: line.replace(b"answer to", b"answer\xff\x00"),
    "deep": lambda line: line[:75] + b"[" * 100_000 + line[75:],
    "too long": lambda line: line[:75] + b" " * 5_000_000 + line[75:],
    "no number": resealed(lambda parts: parts.update(stored_at="yesterday")),
    "another key": resealed(lambda parts: parts["request"].update(prompt="another")),
    "cut off by the MLLM": resealed(lambda parts: parts["answer"].update(finish_reason="tool_calls")),
    "not bound": resealed(lambda parts: parts["answer"].update(text="x" * 20_001)),
    "more than an answer": resealed(lambda parts: parts.update(more=1)),
    "no backend's failure": resealed(
        lambda parts: parts.update(failure={"kind": "Sequence", "message": "x"}) or parts.pop("answer")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_entry_is_fatal_in_replay_and_passed_over_otherwise(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(folder, "a", "b")
    key, sound = make_request("a").key, make_request("b").key
    change_line(folder, key, DAMAGES[damage])
    before = (folder / "journal.jsonl").read_bytes()
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError, match=f"entry {key[:12]}… is damaged|1 lines are damaged"):
            await store.get(key)
        with pytest.raises(StoreCorruptedError, match=r"damaged.*restore the store from a copy or a cassette"):
            [entry async for entry in store.entries()]
        assert await store.get(sound) is not None
    assert (folder / "journal.jsonl").read_bytes() == before
    async with ResponseStore(folder) as store:
        assert await store.get(key) is None
        assert "skipped" in caplog.text
        assert [entry.request.key async for entry in store.entries()] == [sound]
        await store.put(make_request("a"), Answer("again"))
        entry = await store.get(key)
        assert entry is not None
        assert entry.ending == Answer("again")
    # what was damaged is still there, for whoever wants to look at it
    assert (folder / "journal.jsonl").read_bytes().startswith(before)


async def test_a_replay_that_finds_nothing_beside_damaged_lines_says_so(folder: Path) -> None:
    await filled(folder, "a", "b")
    change_line(folder, make_request("a").key, lambda line: b'{"kex' + line[5:])
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError, match="1 lines are damaged"):
            await store.get(make_request("a").key)
        assert await store.get(make_request("b").key) is not None


async def test_a_damaged_answer_does_not_bring_an_earlier_failure_back(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put_failure(make_request("a"), RateLimitError("slow down"))
        await store.put(make_request("a"), Answer("at last"))
    data = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(data.replace(b"at last", b"at lest"))
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError):
            await store.get(make_request("a").key)


async def test_a_folder_with_other_things_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    (folder / "thesis.tex").write_text("x")
    with pytest.raises(StoreUnavailableError, match="holds other files and no response store"):
        await ResponseStore(folder).open()
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["journal.jsonl", "store.lock", "index", "damaged.jsonl", "cache.db"])
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
    assert (tmp_path / "$HOME ~ %20?x=1#" / "journal.jsonl").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {"file", "$HOME ~ %20?x=1#"}


async def test_waiting_for_one_who_opens_it_ends_in_time_and_at_a_cancellation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    threads = threading.active_count()
    with FileLock(folder / "store.lock"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ResponseStore(folder).open(), 0.02)
        assert threading.active_count() == threads
        monkeypatch.setattr("ants_engine.dispatch.storage.store._WAIT", 0.02)
        with pytest.raises(StoreUnavailableError, match="another process held the response store"):
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
        with FileLock(folder / "store.lock"):
            with pytest.raises(StoreUnavailableError, match=r"another process held the response store.*end it"):
                await store.put(make_request(), Answer("x"))
            # those who only read need no lock
            assert await store.get(make_request().key) is None
        await store.put(make_request(), Answer("x"))


@pytest.mark.parametrize("strict", [True, False])
async def test_a_store_of_a_later_version_is_left_alone(folder: Path, *, strict: bool) -> None:
    await filled(folder, "a")
    data = (folder / "journal.jsonl").read_bytes()
    later = re.sub(rb'"version": \d+', b'"version": 99', data, count=1)
    (folder / "journal.jsonl").write_bytes(later)
    with pytest.raises(StoreUnavailableError, match=r"of form 99, and this version.*install a newer version"):
        await ResponseStore(folder, strict=strict).open()
    assert (folder / "journal.jsonl").read_bytes() == later


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
        assert [entry async for entry in store.entries()] == []


async def test_a_damaged_name_of_a_model_is_passed_over_and_fatal_in_replay(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        await store.put_identity(model("m", "1"))
        await store.put_identity(model("m", "2"))
    data = (folder / "journal.jsonl").read_bytes()
    (folder / "journal.jsonl").write_bytes(data.replace(b'"weights":"1"', b'"weights":"7"'))
    async with ResponseStore(folder, strict=True) as store:
        with pytest.raises(StoreCorruptedError):
            await store.get_identities()
    async with ResponseStore(folder) as store:
        assert await store.get_identities() == [model("m", "2")]


def test_an_entry_is_read_as_it_was_spelled() -> None:
    for ending in (Answer('naïve 猫 \\ "checksum":"x",', "stop", 3, None), Failure("RateLimitError", "slow \n")):
        for stored_at in (None, 0.0, 1_795_853_131.627):
            entry = Entry(make_request('}{"checksum":猫'), ending, stored_at)
            assert Entry.from_line(entry.to_line()) == entry
