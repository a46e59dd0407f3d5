"""The run folder: what is in it, what is never in it, and that no trouble with it costs more than a warning."""

import asyncio
import json
import logging
import os
import resource
import shutil
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ants_engine.dispatch.runs import run_folder
from ants_engine.dispatch.runs.run_folder import RunFolder
from ants_engine.errors import BackendUnavailableError
from ants_engine.settings.config import Settings
from tests.support.runs import FACTS, answered, failed, tell


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "runs"


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("ants-run")}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(folder: RunFolder) -> dict[str, Any]:
    assert folder.path is not None
    return dict(json.loads((folder.path / "run.json").read_text()))


def finished(root: Path, settings: Settings | None = None) -> RunFolder:
    folder = RunFolder(root, settings or Settings())
    folder.begin(FACTS)
    tell(folder, answered(1, attempts=3))
    tell(folder, answered(2, source="store", attempts=0))
    tell(folder, failed(3))
    folder.event("paused", seconds=2.5, reason="key sk-abcdef0123 refused")
    folder.close("done")
    return folder


def test_a_finished_run_says_all_of_it(root: Path) -> None:
    folder = finished(root)
    assert folder.path is not None
    assert threads() == set()
    said = record(folder)
    assert (said["ending"], said["facts"]) == ("done", FACTS)
    assert said["start"] < said["end"]
    assert said["totals"] == {
        "ended": 3,
        "answered": 2,
        "from_store": 1,
        "attempts": 4,
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "failed": {"RefusedAnswerError": 1},
        "failed_attempts": {"RateLimitError": 2, "RefusedAnswerError": 1},
        "first_answer": said["totals"]["first_answer"],
    }
    assert said["templates"] == {"vsnl/v1": "ef" * 32}
    assert said["settings"]["dispatch"]["mode"] == "record"
    assert said["versions"]["pydantic"]
    assert (said["lines_dropped"], said["lines_lost"]) == (0, 0)
    first, second, third = lines(folder.path / "responses.jsonl")
    assert first["key"] == answered(1).request.key
    assert [first[name] for name in ("task", "template", "picture", "source", "attempts", "seconds", "ending")] == [
        *("vsnl", "vsnl/v1", None, "backend", 3, 0.25, "answer")
    ]
    assert (first["prompt_tokens"], first["completion_tokens"]) == (10, 3)
    assert (second["source"], second["attempts"]) == ("store", 0)
    assert (third["picture"], third["ending"]) == ("ab" * 32, "RefusedAnswerError")
    assert third["message"] == "the MLLM declined"
    events = lines(folder.path / "events.jsonl")
    assert [each["kind"] for each in events] == [
        *("attempt_failed", "attempt_failed", "template", "attempt_failed", "paused")
    ]
    assert events[-1]["facts"] == {"seconds": 2.5, "reason": "key sk-[set] refused"}


def test_it_is_for_its_owner_only_and_holds_no_secret_no_prompt_no_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    mllm = {"backend": "openai", "model": "tiny", "api_key": "hunter-two-hunter", "note": object()}
    folder = RunFolder(root, Settings.model_validate({"mllm": mllm}))
    folder.begin({**FACTS, "token": "hunter-two-hunter"})
    tell(folder, failed(1, BackendUnavailableError("correct-horse-battery was refused")))
    tell(folder, answered(2))
    folder.close("failed: correct-horse-battery")
    assert folder.path is not None
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    everything = b"".join(each.read_bytes() for each in folder.path.iterdir())
    assert b'"api_key": "[set]"' in everything
    for secret in (b"correct-horse", b"hunter", b"A hidden answer", b"Name 5"):
        assert secret not in everything


def test_the_record_is_there_from_the_start_without_an_ending(root: Path) -> None:
    folder = RunFolder(root, Settings())
    folder.begin(FACTS)
    try:
        wait_for(lambda: folder.path is not None and (folder.path / "run.json").exists())
        assert record(folder)["ending"] is None
    finally:
        folder.close("interrupted")
    assert record(folder)["ending"] == "interrupted"


def test_runs_of_the_same_moment_get_folders_of_their_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the first name of the second run is taken
    digits = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    monkeypatch.setattr(run_folder.secrets, "token_hex", lambda count: next(digits) if count == 3 else "0" * 8)
    writers = [run_folder.RunWriter(root, "20261125T000000.000Z", dict) for _ in range(2)]
    for writer in writers:
        writer.start()
        writer.close({})
    assert [each.path.name[-6:] for each in writers] == ["aaaaaa", "bbbbbb"]
    assert all((each.path / "run.json").exists() for each in writers)


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        finished(tmp_path / "file" / "runs")
    (warning,) = caplog.records
    assert "Not a directory" in warning.getMessage()
    assert threads() == set()


def test_a_folder_that_goes_away_is_one_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder(root, Settings())
    folder.begin(FACTS)
    wait_for(lambda: folder.path is not None and (folder.path / "run.json").exists())
    assert folder.path is not None
    shutil.rmtree(folder.path)
    tell(folder, answered(1))
    folder.close("done")
    assert len(caplog.records) == 1
    assert threads() == set()


def test_a_full_disk_is_one_warning_and_the_lines_after_it_are_whole(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(root, Settings())
    folder.begin(FACTS)
    wait_for(lambda: folder.path is not None and (folder.path / "run.json").exists())
    assert folder.path is not None
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a bound on a file's size cuts a line in the middle, as a full disk does
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for number in range(10):
            folder.ended(answered(number))
        wait_for(lambda: bool(caplog.records))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    wait_for(lambda: folder._writer is not None and folder._writer._queue.empty())
    folder.ended(answered(11))
    folder.close("done")
    assert len(caplog.records) == 1
    text = (folder.path / "responses.jsonl").read_text().splitlines()
    assert json.loads(text[-1])["key"] == answered(11).request.key
    torn = [line for line in text if not line.endswith("}")]
    assert len(torn) == 1
    assert len(text) - 1 + record(folder)["lines_lost"] == 11


def test_a_slow_disk_costs_lines_not_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MAX_WAITING", 5)
    folder, gate = RunFolder(root, Settings()), threading.Event()
    let_go: list[bool] = []
    real = os.write

    def slow(descriptor: int, data: bytes) -> int:
        let_go.append(gate.wait(60))
        return real(descriptor, data)

    monkeypatch.setattr(run_folder.os, "write", slow)
    folder.begin(FACTS)
    for number in range(100):
        folder.ended(answered(number))
    gate.set()
    folder.close("done")
    assert all(let_go), "nobody has waited for the disk"
    assert folder.path is not None
    kept = len(lines(folder.path / "responses.jsonl")) + len(lines(folder.path / "events.jsonl"))
    dropped = record(folder)["lines_dropped"]
    assert dropped >= 90
    # 100 requests, and the event of the first template
    assert kept + dropped == 101


def test_facts_that_are_no_json_are_named_by_their_kind(root: Path) -> None:
    folder = RunFolder(root, Settings())
    folder.begin({**FACTS, "odd": b"picture"})  # type: ignore[dict-item]
    folder.event("odd", value=object(), parts={("a", 1): [b"picture"]})  # type: ignore[arg-type, dict-item]
    folder.event("fine")
    folder.close("done")
    assert folder.path is not None
    odd, fine = lines(folder.path / "events.jsonl")
    assert odd["facts"] == {"value": "[object]", "parts": {"('a', 1)": ["[bytes]"]}}
    assert fine["kind"] == "fine"
    assert record(folder)["facts"]["odd"] == "[bytes]"


def test_a_line_that_cannot_be_spelled_costs_that_line(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = RunFolder(root, Settings())
    folder.begin(FACTS)
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    circle: list[Any] = []
    circle.append(circle)
    assert folder._writer is not None
    folder._writer.put("events.jsonl", {"kind": "circle", "facts": circle})
    folder.event("fine", deep=deep)
    folder.close("done")
    assert folder.path is not None
    assert [each["kind"] for each in lines(folder.path / "events.jsonl")] == ["fine"]
    assert record(folder)["lines_lost"] == 1
    assert len(caplog.records) == 1


def test_closing_without_a_start_or_twice_is_nothing(root: Path) -> None:
    folder = RunFolder(root, Settings())
    folder.event("early")
    folder.ended(answered(1))
    folder.close("done")
    assert not root.exists()
    again = finished(root)
    again.close("failed: late")
    assert record(again)["ending"] == "done"


async def test_close_is_right_after_a_cancellation(root: Path) -> None:
    folder = RunFolder(root, Settings())

    async def work() -> None:
        folder.begin(FACTS)
        try:
            for number in range(1_000_000):
                tell(folder, answered(number))
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            folder.close("interrupted")
            raise

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.2)
    said = record(folder)
    assert folder.path is not None
    assert said["ending"] == "interrupted"
    assert len(lines(folder.path / "responses.jsonl")) == said["totals"]["ended"] > 0
    assert threads() == set()


def wait_for(true: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
