"""Real processes on one store: side by side, and killed at any moment."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Answer
from tests.support.process import WAIT

CONCURRENCY = 4


def start(folder: Path, count: int, log: Path, delay: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.integration.dispatch.worker", str(folder), str(count), str(log), str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 0, err
    return out.splitlines()[-1]


def stored(folder: Path) -> dict[str, object]:
    async def read() -> dict[str, object]:
        async with ResponseStore(folder, strict=True) as store:
            return {entry.request.prompt: entry.ending async for entry in store.entries()}

    return asyncio.run(read())


def whole(count: int) -> dict[str, object]:
    return {f"{number}": Answer(f"answer to {number}") for number in range(count)}


def test_processes_share_one_store_from_its_first_moment(tmp_path: Path) -> None:
    folder, log = tmp_path / "store", tmp_path / "log"
    workers = [start(folder, 60, log, 0.001) for _ in range(2)]
    for worker in workers:
        assert finish(worker).startswith("wrong 0")
    assert stored(folder) == whole(60)
    assert max(Counter(log.read_text().split()).values()) <= len(workers)
    assert finish(start(folder, 60, log, 0.001)) == "wrong 0, from the store 60"


def test_a_killed_run_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    folder, log = tmp_path / "store", tmp_path / "log"
    moments = random.Random(5)
    kills = 0
    for _ in range(4):
        worker = start(folder, 80, log, 0.01)
        assert worker.stdout is not None
        worker.stdout.readline()
        time.sleep(moments.uniform(0.01, 0.08))
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=WAIT)
        kills += 1
    assert finish(start(folder, 80, log, 0.0)).startswith("wrong 0")
    assert stored(folder) == whole(80)
    # What was answered at the moment of a kill may not have reached the disk yet, and nothing else is asked twice.
    assert len(log.read_text().split()) <= 80 + kills * CONCURRENCY
