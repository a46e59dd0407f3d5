import json
from pathlib import Path

import pytest

from ants_engine.report.facts import LOADS, MOST, read_requests


def write(folder: Path, responses: list[object], events: list[object] = []) -> Path:  # noqa: B006
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"facts": {"mode": "record", "model": "m\x1b[31m"}, "ending": "done"}))
    for name, lines in (("responses", responses), ("events", events)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def response(at: float, seconds: float, **changes: object) -> dict[str, object]:
    line = {"at": at, "seconds": seconds, "source": "backend", "task": "ens", "attempts": 1, "ending": "answer"}
    return {**line, "prompt_tokens": 3, "completion_tokens": 2, **changes}


def test_what_the_mllm_answered_is_timed_and_what_the_store_knew_is_counted(tmp_path: Path) -> None:
    lines: list[object] = [
        response(2.0, 1.5),
        response(1.0, 0.5),
        response(3.0, 0.0, source="store"),
        response(4.0, 1.0, ending="BackendTimeoutError", message="late <b>"),
        "no object",
    ]
    progress = {"in_flight": 4, "limit": 16, "cost": 1.5}
    found = read_requests(
        write(tmp_path / "r", lines, [{"at": 1.0, "kind": "progress", "facts": progress}, {"at": 2.0, "kind": "stuck"}])
    )
    assert found.ended == (1.0, 2.0)
    assert found.seconds == (0.5, 1.5)
    assert found.load == ((1.0, 4, 16),)
    told = {fact.name: fact.value for fact in found.facts}
    assert told["From the store"] == "1"
    assert told["Tokens"] == "10"
    assert told["Cost"] == "1.50"
    assert "\x1b" not in told["MLLM"]
    assert [(fact.name, fact.value, fact.note) for fact in found.failed] == [("BackendTimeoutError", "1", "late <b>")]


@pytest.mark.parametrize("bad", [{"at": "x"}, {"seconds": -1}, {"at": 1e300}, {"seconds": None}])
def test_numbers_that_no_run_wrote_are_left_out(tmp_path: Path, bad: dict[str, object]) -> None:
    assert read_requests(write(tmp_path / "r", [{**response(1.0, 1.0), **bad}])).seconds == ()


def test_a_long_run_is_thinned_out(tmp_path: Path) -> None:
    lines: list[object] = [response(float(at), 0.5) for at in range(MOST + 100)]
    events: list[object] = [
        {"at": at, "kind": "progress", "facts": {"in_flight": 1, "limit": 2}} for at in range(LOADS * 3)
    ]
    found = read_requests(write(tmp_path / "r", lines, events))
    assert len(found.seconds) == MOST
    assert len(found.load) == LOADS
    assert list(found.ended) == sorted(found.ended)


def test_a_folder_without_files_says_so(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    found = read_requests(tmp_path / "r")
    assert found.seconds == ()
    assert found.state in ("starting", "killed", "unknown")
