"""How fast the response store is: lookups, puts that wait together, opening, repair; alone and by many processes.

``python -m benchmarks.reliability.store``
"""

import asyncio
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.storage.entry import Entry
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.storage.upkeep import repair, verify
from ants_engine.protocol import Answer
from benchmarks.reliability.harness import Report, make_requests, scratch

COUNT, ROUNDS, WAITING, PROCESSES = 5_000, 5, (1, 32, 1_000), 8
ANSWER = Answer("wolf, fox, jackal, coyote, dingo and, for once, a raccoon dog", "stop", 210, 17)


def run(count: int = COUNT, rounds: int = ROUNDS) -> Report:
    """Measure, in medians."""
    report = Report(f"The response store: {count:,} answers, medians of {rounds}")
    requests = make_requests(count, {"backend": "openai", "model": "tiny", "detail": "auto"})
    with scratch() as folder:
        for waiting in WAITING:
            rates = [asyncio.run(_puts(folder / f"{waiting}-{each}", requests, waiting)) for each in range(rounds)]
            report.say(f"puts, {waiting:,} waiting: {statistics.median(rates):,.0f}/s")
        for waiting in WAITING:
            rates = [asyncio.run(_gets(folder / "32-0", requests, waiting)) for _ in range(rounds)]
            middle = statistics.median(rates)
            report.say(f"lookups, {waiting:,} waiting: {middle:,.0f}/s ({1e6 / middle:.0f} µs each)")
        opened = [asyncio.run(_open(folder / "32-0")) for _ in range(rounds)]
        report.say(f"opening and closing: {statistics.median(opened) * 1000:.1f} ms")
        began = time.perf_counter()
        if verify(folder / "32-0").damaged:
            raise RuntimeError("a store that was only read is damaged")
        report.say(f"ants store verify: {count / (time.perf_counter() - began):,.0f} entries/s")
        report.say(f"repair of a journal with a damaged line: {_repair(folder, count):,.0f} entries/s")
        database, file = _by_hand(folder, requests)
        report.say(f"the same lines, 32 a commit, to plain SQLite: {database:,.0f}/s; behind a file: {file:,.0f}/s")
        alone, together = _processes(folder, count // 5)
        report.say(f"puts by one process, 4 waiting: {alone:,.0f}/s")
        report.say(f"puts by {PROCESSES} processes, 4 waiting in each: {together:,.0f}/s in all")
    return report


async def _puts(folder: Path, requests: list[Request], waiting: int) -> float:
    async with ResponseStore(folder) as store:
        # One at a time each costs a write that reaches the disk: fewer are enough.
        chosen = requests if waiting > 1 else requests[:300]
        return await _rate(chosen, waiting, lambda each: store.put(each, ANSWER))


async def _gets(folder: Path, requests: list[Request], waiting: int) -> float:
    async with ResponseStore(folder) as store:

        async def get(request: Request) -> None:
            if await store.get(request.key) is None:
                raise RuntimeError("an answer that was put is not there")

        return await _rate(requests, waiting, get)


async def _rate(requests: list[Request], waiting: int, work: Callable[[Request], Awaitable[None]]) -> float:
    async def worker(number: int) -> None:
        for request in requests[number::waiting]:
            await work(request)

    began = time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(waiting)))
    return len(requests) / (time.perf_counter() - began)


async def _open(folder: Path) -> float:
    began = time.perf_counter()
    async with ResponseStore(folder):
        pass
    return time.perf_counter() - began


def _repair(folder: Path, count: int) -> float:
    """Damage one line, and return how many entries a second `repair` goes through."""
    damaged = folder / "damaged"
    shutil.copytree(folder / "32-0", damaged)
    with (damaged / "journal.jsonl").open("r+b") as journal:
        journal.seek(1000)
        journal.write(b"\xff")
    began = time.perf_counter()
    done = repair(damaged)
    if (done.answers, done.moved) != (count - 1, 1):
        raise RuntimeError("answers were lost")
    return count / (time.perf_counter() - began)


def _by_hand(folder: Path, requests: list[Request]) -> tuple[float, float]:
    """Write the same lines in groups of 32 with no store around them: to SQLite, and behind a file."""
    entries = [Entry(request, ANSWER, time.time()) for request in requests]
    groups = [entries[start : start + 32] for start in range(0, len(entries), 32)]
    began = time.perf_counter()
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, line BLOB)")
        for group in groups:
            connection.execute("BEGIN IMMEDIATE")
            rows = [(entry.request.key, entry.to_line()) for entry in group]
            connection.executemany("INSERT INTO answers VALUES (?, ?)", rows)
            connection.execute("COMMIT")
    database = time.perf_counter() - began
    began = time.perf_counter()
    with (folder / "plain.jsonl").open("wb", buffering=0) as file:
        for group in groups:
            file.write(b"".join(entry.to_line() for entry in group))
            os.fsync(file.fileno())
    return len(entries) / database, len(entries) / (time.perf_counter() - began)


def _processes(folder: Path, count: int) -> tuple[float, float]:
    """Put from one process and from many at once; return puts a second, of all together."""
    rates = []
    for processes in (1, PROCESSES):
        place = folder / f"by-{processes}"
        command = [sys.executable, "-m", "benchmarks.reliability.store", str(place), str(count)]
        children = [
            subprocess.Popen([*command, str(number * count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for number in range(processes)
        ]
        for child in children:
            # Each says that it is there, so that none is measured while it starts.
            if child.stdout is None or child.stdout.readline() != "ready\n":
                raise RuntimeError("a process did not start")
        began = time.perf_counter()
        for child in children:
            if child.stdin is not None:
                child.stdin.write("go\n")
                child.stdin.flush()
        endings = [child.communicate(timeout=300)[0] for child in children]
        if set(endings) != {"done\n"}:
            raise RuntimeError("a process failed")
        rates.append(processes * count / (time.perf_counter() - began))
        if (found := verify(place)).damaged or found.answers != processes * count:
            raise RuntimeError("answers were lost")
    return rates[0], rates[1]


async def _put_as_told(folder: Path, count: int, first: int) -> None:
    requests = make_requests(count, {"backend": "openai"}, first)
    async with ResponseStore(folder) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await _rate(requests, 4, lambda each: store.put(each, ANSWER))
    print("done", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_put_as_told(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    else:
        print(run())
