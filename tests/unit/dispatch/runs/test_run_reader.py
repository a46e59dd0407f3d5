"""Run folders read: whole, growing, cut, damaged, and made by someone who means harm."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ants_engine.dispatch.runs.run_folder import RunFolder
from ants_engine.dispatch.runs.run_reader import RunReader, find_run, list_runs
from ants_engine.errors import UsageError
from ants_engine.settings.config import Settings
from tests.support.runs import FACTS, answered, failed, tell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run: two answers, a refusal."""
    run = RunFolder(tmp_path / "runs", Settings())
    run.begin(FACTS)
    for outcome in (answered(1), answered(2), failed(3)):
        tell(run, outcome)
    run.close("done")
    assert run.path is not None
    return run.path


def read(folder: Path) -> RunReader:
    reader = RunReader(folder)
    reader.read()
    return reader


def test_a_finished_run(folder: Path) -> None:
    reader = read(folder)
    assert (reader.state, reader.ending, reader.problems) == ("ended", "done", [])
    assert (reader.summary.answered, reader.summary.failed) == (2, {"RefusedAnswerError": 1})
    assert reader.record["totals"]["answered"] == reader.summary.answered
    json.dumps(reader.as_json(), allow_nan=False)


def test_a_running_run_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, Settings())
    run.begin(FACTS)
    reader: RunReader | None = None
    for number in range(1, 4):
        tell(run, answered(number))
        while reader is None or reader.summary.answered < number:
            if reader is None and run.path is not None and run.path.is_dir():
                reader = RunReader(run.path)
            if reader is not None:
                reader.read()
        assert reader.state == "running"
    run.close("done")
    assert reader is not None
    reader.read()
    assert (reader.state, reader.summary.answered, reader.problems) == ("ended", 3, [])


def test_a_line_that_is_still_being_written_is_waited_for(folder: Path) -> None:
    path = folder / "responses.jsonl"
    whole = path.read_bytes()
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "ending": None}))
    path.write_bytes(whole[:-20])
    with (folder / "events.jsonl").open("rb") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        reader = read(folder)
        assert (reader.state, reader.summary.ended, reader.problems) == ("running", 2, [])
        with path.open("ab") as file:
            file.write(whole[-20:])
        reader.read()
        assert (reader.state, reader.summary.ended, reader.problems) == ("running", 3, [])


def test_a_run_without_ending_or_lock_was_killed_and_its_cut_line_is_counted(folder: Path) -> None:
    path = folder / "responses.jsonl"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "ending": None}))
    path.write_bytes(path.read_bytes()[:-20])
    reader = read(folder)
    assert (reader.state, reader.summary.ended) == ("killed", 2)
    assert reader.problems == ["responses.jsonl: its last line was cut and is left out"]
    (folder / "run.json").write_text(json.dumps({**record, "ending": None, "locked": False}))
    assert read(folder).state == "unknown"


@pytest.mark.parametrize("name", ["run.json", "responses.jsonl", "events.jsonl"])
def test_a_missing_file_is_said(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.utime(folder, (0, 0))
    reader = read(folder)
    assert len(reader.problems) == 1
    assert reader.problems[0].startswith(f"{name} is missing")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"ending": NaN}', b"[" * 100_000, b"7" * 5_000_000])
def test_a_damaged_record_is_said(folder: Path, data: bytes) -> None:
    (folder / "run.json").write_bytes(data)
    reader = read(folder)
    assert reader.problems == ["run.json is damaged: what was asked of this run is not known"]
    assert (reader.state, reader.summary.ended) == ("killed", 3)


@pytest.mark.parametrize(
    "data", [b"garbage", b"{}", b"null", b"[" * 50_000, b"x" * 200_000, b"\x00" * 10, b'{"at": 1e400}', b'{"at": NaN}']
)
def test_damaged_lines_are_counted_and_the_others_read(folder: Path, data: bytes) -> None:
    for name, what in (("responses.jsonl", 3), ("events.jsonl", 2)):
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(data + b"\n" + before + data + b"\n" + before)
        reader = read(folder)
        assert reader.problems == [f"{name}: 2 damaged lines are left out"]
        found = reader.summary.ended if name == "responses.jsonl" else reader.summary.events.total()
        assert found == 2 * what
        path.write_bytes(before)


@pytest.mark.parametrize("name", ["run.json", "responses.jsonl", "events.jsonl"])
def test_neither_links_nor_pipes_nor_folders_are_followed(folder: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    for make in (lambda path: path.symlink_to(elsewhere), os.mkfifo, os.mkdir):
        make(folder / name)
        reader = read(folder)
        assert [each.startswith(f"{name} cannot be read") for each in reader.problems] == [True]
        (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()


def test_a_folder_that_is_being_made_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    reader = read(tmp_path / "run")
    assert (reader.state, reader.problems) == ("starting", [])
    os.utime(tmp_path / "run", (0, 0))
    reader.read()
    assert reader.state == "killed"
    assert len(reader.problems) == 3


def test_odd_values_in_a_record_break_nothing(folder: Path) -> None:
    odd: list[Any] = [7, [], {}, "text", None, True]
    for value in odd:
        record = dict.fromkeys(("ending", "facts", "settings", "versions", "seconds", "lines_dropped"), value)
        (folder / "run.json").write_text(json.dumps(record))
        assert read(folder).state in {"ended", "killed"}


def test_runs_are_found_by_name_end_or_path_and_the_newest_by_none(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "runs"
    older = root / "20200101T000000.000Z-abc123"
    older.mkdir()
    (root / "notes").mkdir()
    assert list_runs(root) == [older, folder]
    assert find_run(root) == folder
    assert find_run(root, older.name) == find_run(root, "abc123") == find_run(root, "2020") == older
    assert find_run(tmp_path, str(folder)) == folder
    for name in ("nothing", "../runs", "20"):
        with pytest.raises(UsageError, match="run"):
            find_run(root, name)
    with pytest.raises(UsageError, match="no run folders there"):
        find_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no runs there"):
        find_run(tmp_path / "runs" / "notes")
