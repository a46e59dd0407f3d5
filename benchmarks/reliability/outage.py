"""Bar 8: the server is killed in the middle of a run, stays away, and comes back; every question is answered."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from benchmarks.reliability.harness import Report, make_requests, scratch, settings_for
from tests.support.faulty.plan import right_answer
from tests.support.process import free_port, wait_for

AWAY = (10.0, 30.0, 60.0)
"""Seconds for which the server is away."""
REQUESTS, SLOTS, LATENCY = 200, 16, 0.2


def run(away: float, requests: int = REQUESTS) -> Report:
    """Ask, kill the server (``kill -9``) when a quarter is answered, start it again after ``away`` seconds."""
    report = Report(f"9. the server is killed for {away:g} s in a run of {requests} requests, {SLOTS} slots")
    with scratch() as folder:
        answered, attempts, seconds, probes, back = asyncio.run(_run(folder, away, requests))
    report.say(
        f"{seconds:.1f} s in all; {probes} probes; answers come again {back:.1f} s after the server can be reached"
    )
    report.bar("questions asked", requests, requests)
    report.bar("questions answered right", answered, requests, at_least=True)
    report.bar("most tries of one question that reached a server", max(attempts), 2)
    return report


async def _run(folder: Path, away: float, requests: int) -> tuple[int, Sequence[int], float, int, float]:
    port = free_port()
    server = await asyncio.to_thread(_start, folder / "before.log", port)
    settings = settings_for(f"http://127.0.0.1:{port}/v1", folder / "store", slots=SLOTS)
    events: Counter[str] = Counter()
    progress = asyncio.Event()
    began, first_back, up_at = time.perf_counter(), 0.0, 0.0

    class Watching:
        """Counts what happens; see `Observer`."""

        def begin(self, facts: object) -> None: ...

        def attempted(self, request: object, attempt: int, seconds: float, ending: object) -> None: ...

        def ended(self, outcome: object) -> None:
            nonlocal first_back
            events["ended"] += 1
            first_back = first_back or (time.perf_counter() if up_at else 0.0)
            progress.set()

        def event(self, kind: str, **facts: object) -> None:
            if kind == "server_back" and isinstance(facts["probes"], int):
                events["probes"] += facts["probes"]

        def close(self, ending: str) -> None: ...

    try:
        async with Coordinator(settings, observers=[Watching()]) as coordinator:
            asked = make_requests(requests, dict(coordinator.identity))
            tasks = [coordinator.submit(request) for request in asked]
            while events["ended"] < requests // 4:
                progress.clear()
                await progress.wait()
            server.kill()
            server.wait()
            await asyncio.sleep(away)
            server = await asyncio.to_thread(_start, folder / "after.log", port)
            up_at = time.perf_counter()
            outcomes = await asyncio.gather(*tasks)
    finally:
        server.kill()
        server.wait()
    right = sum(each.answer is not None and each.answer.text == right_answer(each.request.prompt) for each in outcomes)
    tries = [each.attempts for each in outcomes]
    return right, tries, time.perf_counter() - began, events["probes"], first_back - up_at


def _start(log: Path, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.integration.faulty_server", "--port", str(port), "--latency", str(LATENCY)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=output, stderr=subprocess.STDOUT)
    wait_for(log, r"listening on (\d+)", process)
    return process


if __name__ == "__main__":
    for seconds in map(float, sys.argv[1:] or AWAY):
        print(run(seconds), flush=True)
