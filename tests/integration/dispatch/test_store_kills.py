"""A store is never left in a state that cannot be opened, whenever the process that works on it is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 8


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["create", "header", "repair", "prune"])
def test_killed_while(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.dispatch.killed_store", kind, str(tmp_path), str(ROUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    word, cut_off = done.stdout.split()
    assert word == "well"
    assert int(cut_off) >= ROUNDS
