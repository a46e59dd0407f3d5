"""Bar 2: ``kill -9`` at random instants, over and over, and every paid answer is still there."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ants_engine.dispatch.storage.entry import key_of
from benchmarks.reliability.harness import Report, answers_of, scratch, stored
from tests.support.faulty.plan import right_answer
from tests.support.process import FaultyServer, faulty_server

KILLS, REQUESTS, SLOTS, SEED = 200, 500, 8, 5
LATENCY = 0.05
LONGEST = 0.15
"""Seconds of work, at most, before a kill: so that there are answers left to be asked for at the last one."""


def run(kills: int = KILLS, requests: int = REQUESTS, seed: int = SEED) -> Report:
    """Kill a run at a random moment, start it again, and so on; then let it finish.

    A process is stopped for a moment before it is killed, so that what was in flight can be counted: questions that the
    server works on, and answers that have left it and are not on the disk.
    """
    report = Report(f"2. {kills} × kill -9 in a run of {requests} requests, {SLOTS} slots")
    moments = random.Random(seed)
    flying: list[int] = []
    ended = lost = 0
    with scratch() as folder, faulty_server(folder / "server.log", "--latency", f"{LATENCY}") as server:
        store = folder / "store"
        for number in range(kills):
            worker = _start(server, store, requests)
            # most kills hit while it asks; some while it starts or opens the store
            if number % 10:
                _wait_for_a_call(server, worker)
            time.sleep(moments.uniform(0.0, LONGEST if number % 10 else 1.5))
            worker.send_signal(signal.SIGSTOP)
            now = server.counts()
            flying.append(now["in_flight"] + _successes(now) - lost - _on_disk(store))
            worker.send_signal(signal.SIGKILL)
            worker.communicate(timeout=60)
            ended += worker.returncode == 0
            lost = _successes(_settled(server)) - _on_disk(store)
        last = _start(server, store, requests)
        out, error = last.communicate(timeout=300)
        if last.returncode:
            raise RuntimeError(error)
        successes = _successes(_settled(server))
        kept = answers_of(asyncio.run(stored(store)))
    right = sum(text == right_answer(prompt) for prompt, text in kept.items())
    report.say(f"{ended} of the kills came after the run had ended by itself; the last run: {out.splitlines()[-1]}")
    report.say(f"upstream successes {successes}; in flight at a kill, all kills together: {sum(flying)}")
    report.bar("right answers stored", right, requests, at_least=True)
    report.bar("answers stored in all", len(kept), requests)
    report.bar("upstream successes beyond the requests and those in flight", successes - requests - sum(flying), 0)
    report.bar("most in flight at one kill", max(flying), SLOTS)
    report.bar("kills that hit a call in flight", sum(count > 0 for count in flying), kills // 4, at_least=True)
    return report


def _wait_for_a_call(server: FaultyServer, worker: "subprocess.Popen[str]") -> None:
    """Wait until the server works on a question of this process: what comes before is the start of Python."""
    while worker.poll() is None and not server.counts()["in_flight"]:
        time.sleep(LATENCY / 20)


def _successes(counts: dict[str, Any]) -> int:
    return sum(count["successes"] for count in counts["questions"].values())


def _settled(server: FaultyServer) -> dict[str, Any]:
    while (counts := server.counts())["in_flight"]:
        time.sleep(LATENCY / 4)
    return counts


def _on_disk(store: Path) -> int:
    try:
        return sum(key_of(line) is not None for line in (store / "journal.jsonl").read_bytes().splitlines())
    except FileNotFoundError:
        # killed before there was a journal
        return 0


def _start(server: FaultyServer, store: Path, requests: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.reliability.worker", server.base_url, str(store)]
    return subprocess.Popen(
        [*command, f"{requests}", f"{SLOTS}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


if __name__ == "__main__":
    print(run())
