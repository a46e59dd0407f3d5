"""``ants run`` on runs of real processes: finished, running, and killed with SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from ants_engine.dispatch.runs.run_folder import RunFolder
from ants_engine.errors import BackendUnavailableError
from ants_engine.settings.config import Settings
from tests.support.process import WAIT
from tests.support.runs import FACTS, answered, failed, tell

ANTS = str(Path(sys.executable).with_name("ants"))
REPOSITORY = Path(__file__).parents[2]


def ants(*arguments: str | Path, code: int = 0, cwd: Path | None = None) -> str:
    command = [ANTS, "run", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, timeout=WAIT)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@contextmanager
def writing(root: Path, count: int, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process that writes a run and then waits."""
    command = [sys.executable, "-m", "tests.support.runs", str(root), str(count), str(pause)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def test_a_finished_run_is_listed_and_shown(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / ".ants" / "runs", Settings())
    run.begin(FACTS)
    for number in range(20):
        tell(run, answered(number, attempts=2 if number < 5 else 1, seconds=number / 10))
    tell(run, answered(20, source="store", attempts=0))
    for number in range(3):
        tell(run, failed(number))
    run.event("paused", reason="all slots")
    run.event("limit_changed", slots=8, before=16)
    run.close("done")
    assert run.path is not None
    # found where the setting says, seen from the folder that the run was made in
    assert run.path.name in ants("list", cwd=tmp_path)
    shown = ants("show", cwd=tmp_path)
    for words in (
        *(f"run {run.path.name}: done after", "mode record, backend openai, model tiny", "store .ants/store"),
        *("21 answered (1 from the store), 3 failed", "28 attempts; 5 requests were tried again"),
        *("tokens: 200 in, 60 out", "p50 0.90 s, p95 1.80 s, p99 1.90 s", "first answer after"),
        "the limit changed 1 times; last to 8 requests at once",
        *("3  RefusedAnswerError: the MLLM declined", "5  RateLimitError", "answers per second", "paused  reason all"),
    ):
        assert words in shown
    assert "A hidden answer" not in shown
    report = json.loads(ants("show", run.path, "--json"))
    assert (report["state"], report["record"]["ending"], report["lines"]["answered"]) == ("ended", "done", 21)
    assert [each["run"] for each in json.loads(ants("list", tmp_path / ".ants" / "runs", "--json"))] == [run.path.name]


def test_a_running_run_is_followed_to_its_end(tmp_path: Path) -> None:
    with writing(tmp_path, 30) as process:
        folder = Path(said(process.stdout))
        assert "running" in ants("list", tmp_path)
        command = [ANTS, "run", "show", "--root", str(tmp_path), "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
            assert "30 answered" in said(follower.stdout)
            assert process.stdin is not None
            process.stdin.write("end\n")
            process.stdin.flush()
            rest, _ = follower.communicate(timeout=WAIT)
        assert follower.returncode == 0
        assert f"run {folder.name}: done after" in rest


def test_following_can_be_interrupted(tmp_path: Path) -> None:
    with writing(tmp_path, 1) as process:
        said(process.stdout)
        command = [ANTS, "run", "show", "--root", str(tmp_path), "--follow", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
            first: dict[str, Any] = json.loads(said(follower.stdout))
            assert first["state"] == "running"
            follower.send_signal(signal.SIGINT)
            _, errors = follower.communicate(timeout=WAIT)
        assert (follower.returncode, errors.strip()) == (130, "interrupted")


def test_a_killed_run_is_known_as_such_and_keeps_its_lines(tmp_path: Path) -> None:
    with writing(tmp_path, 100_000, 0.0005) as process:
        deadline = time.monotonic() + WAIT
        while not (found := list(tmp_path.glob("*/responses.jsonl"))) or found[0].stat().st_size < 20_000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    report = json.loads(ants("show", "--root", tmp_path, "--json"))
    assert report["state"] == "killed"
    assert report["record"]["ending"] is None
    assert report["lines"]["answered"] == report["lines"]["ended"] > 50
    # one write a line: not one of them is lost in the middle of the file
    keys = [json.loads(line)["key"] for line in found[0].read_bytes().split(b"\n")[:-1]]
    assert keys == [answered(number).request.key for number in range(len(keys))]
    assert "killed: it has no ending" in ants("show", "--root", tmp_path)
    assert "killed" in ants("show", "--root", tmp_path, "--follow")


def test_what_a_server_said_reaches_the_terminal_as_text(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Settings())
    run.begin({**FACTS, "model": "\x1b[31mred\u202e"})
    tell(run, failed(1, BackendUnavailableError("said \x1b]0;title\x07 [bold]no[/bold]\nand more\x9b2J")))
    run.event("odd\x1b[2J", **{"name\x1b": "value\x1b"})
    run.close("failed: \x1b[0m")
    for arguments in (["list", tmp_path], ["show", "--root", tmp_path], ["show", "--root", tmp_path, "--json"]):
        shown = ants(*arguments)
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert r"said \x1b]0;title\x07 [bold]no[/bold]\nand more\x9b2J" in ants("show", "--root", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list"], "no run folders there"),
        (["show"], "no run folders there"),
        (["show", "nothing", "--root", "."], 'no run "nothing"'),
        (["list", "--set", "dispatch.runs=null"], "dispatch.runs is empty"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in ants(*arguments, code=2, cwd=tmp_path)
