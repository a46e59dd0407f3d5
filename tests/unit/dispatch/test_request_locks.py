"""Bytes of a file, locked by the system: between processes, between runs of one process, and free after a kill."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ants_engine.dispatch.single_flight import LOCKS, RequestLocks

KEYS = [f"{number:064x}" for number in (1 << 252, 2 << 240, 3 << 230)]
CODE = """
import sys
from pathlib import Path
from ants_engine.dispatch.single_flight import RequestLocks
locks = RequestLocks(Path(sys.argv[1]), patience=1.0)
locks.open()
print([locks.take(key) for key in sys.argv[2:]], flush=True)
sys.stdin.read()
"""


def other(folder: Path, *keys: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(folder), *keys], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def opened(folder: Path, patience: float = 1.0) -> RequestLocks:
    locks = RequestLocks(folder, patience=patience)
    locks.open()
    return locks


def test_two_runs_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    assert one.take(KEYS[0])
    assert one.take(KEYS[0])
    assert not two.take(KEYS[0])
    assert two.take(KEYS[1])
    one.release(KEYS[1])
    assert not one.take(KEYS[1])
    one.close()
    assert two.take(KEYS[0])
    two.close()
    two.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_one_knows_whether_it_is_alone_and_remembers_that_it_was_not(tmp_path: Path) -> None:
    locks = opened(tmp_path)
    assert locks.alone()
    assert locks.alone()
    with other(tmp_path, KEYS[0]) as process:
        assert said(process) == "[True]"
        assert not locks.alone()
        process.communicate()
    assert not locks.alone()
    locks.close()
    again = opened(tmp_path)
    assert again.alone()
    beside = opened(tmp_path)
    assert not again.alone()
    assert not beside.alone()
    again.close()
    beside.close()


def test_closing_one_run_loses_no_claim_of_another(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    assert two.take(KEYS[0])
    one.close()
    with other(tmp_path, KEYS[0]) as process:
        assert said(process) == "[False]"
        process.communicate()
    two.close()


async def test_a_killed_process_claims_nothing_any_more(tmp_path: Path) -> None:
    locks = opened(tmp_path, patience=30.0)
    with other(tmp_path, *KEYS[:2]) as process:
        assert said(process) == "[True, True]"
        assert [locks.take(key) for key in KEYS] == [False, False, True]
        process.send_signal(signal.SIGKILL)
        await locks.take_later(KEYS[0])
        assert locks.take(KEYS[1])
    locks.close()


async def test_a_claim_that_lasts_too_long_is_not_believed(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path, patience=0.05)
    assert one.take(KEYS[0])
    await two.take_later(KEYS[0])
    assert two.take(KEYS[0])
    two.release(KEYS[0])
    assert not two.take(KEYS[0])
    one.close()
    two.close()


def test_where_there_can_be_no_lock_file_everyone_may_ask(tmp_path: Path) -> None:
    locks = opened(tmp_path / "missing")
    assert locks.take(KEYS[0])
    locks.release(KEYS[0])
    locks.close()
    (tmp_path / "target").touch()
    (tmp_path / LOCKS).symlink_to(tmp_path / "target")
    linked = opened(tmp_path)
    assert linked.take(KEYS[0])
    linked.close()


@pytest.mark.parametrize("key", [KEYS[0]])
def test_what_was_never_opened_gives_claims_to_everyone(tmp_path: Path, key: str) -> None:
    assert RequestLocks(tmp_path, patience=1.0).take(key)
