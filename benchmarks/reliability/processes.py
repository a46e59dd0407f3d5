"""Bar 3: eight processes with one store and the same requests, against one process alone."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.reliability.harness import Report, answers_of, scratch, stored
from tests.support.faulty.plan import right_answer
from tests.support.process import FaultyServer, faulty_server

PROCESSES, REQUESTS, LATENCY, SLOTS, ROUNDS = 8, 2_000, 0.2, 16, 3


def run(processes: int = PROCESSES, requests: int = REQUESTS, rounds: int = ROUNDS) -> Report:
    """Measure one alone and all together in turn, each with an empty store."""
    report = Report(f"3. {processes} processes, one store, the same {requests:,} requests, {SLOTS} slots each")
    alone, together, asked = [], [], []
    with scratch() as folder, faulty_server(folder / "server.log", "--latency", f"{LATENCY}") as server:
        for number in range(rounds):
            one, _ = _together(server, folder / f"alone-{number}", requests, 1)
            alone.append(one)
            server.reset()
            store = folder / f"shared-{number}"
            seconds, said = _together(server, store, requests, processes)
            together.append(seconds)
            asked.append(server.counts()["total"])
            kept = answers_of(asyncio.run(stored(store)))
            wrong = sum(text != right_answer(prompt) for prompt, text in kept.items())
            report.bar("answers lost", requests - len(kept), 0)
            report.bar("answers mixed up, stored or delivered", wrong + sum(requests - one["right"] for one in said), 0)
    report.say(f"alone: {_seconds(alone)}; together: {_seconds(together)} (each with its start)")
    report.say(f"calls upstream, together: {', '.join(f'{each:,}' for each in asked)}")
    report.bar("together / alone", statistics.median(together) / statistics.median(alone), 1.3)
    return report


def _together(server: FaultyServer, store: Path, requests: int, count: int) -> tuple[float, list[dict[str, int]]]:
    command = [sys.executable, "-m", "benchmarks.reliability.worker", server.base_url, str(store)]
    began = time.perf_counter()
    workers = [
        subprocess.Popen(
            [*command, f"{requests}", f"{SLOTS}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    said = []
    for worker in workers:
        out, error = worker.communicate(timeout=600)
        if worker.returncode:
            raise RuntimeError(error)
        said.append(json.loads(out.splitlines()[-1]))
    return time.perf_counter() - began, said


def _seconds(values: list[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values) + " s"


if __name__ == "__main__":
    print(run())
