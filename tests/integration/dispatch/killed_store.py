"""Kills processes at work on a store: ``python -m tests.integration.dispatch.killed_store KIND FOLDER ROUNDS``.

Each round forks a process, kills it at a random moment of its work, and looks at what it left behind. Ends with the
word ``well`` and how many of the rounds were cut off.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ants_engine.dispatch.storage import journal
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.storage.upkeep import Selection, repair, select, verify
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

KEPT, GOING = 150, 150


async def fill(folder: Path) -> None:
    requests = [make_request(f"{number}") for number in range(KEPT)]
    requests += [make_request(f"going {number}", task="ens") for number in range(GOING)]
    async with ResponseStore(folder) as store:
        await asyncio.gather(*(store.put(request, Answer("x" * 500)) for request in requests))


async def found(folder: Path) -> set[str]:
    async with ResponseStore(folder) as store:
        return {entry.request.prompt async for entry in store.entries()}


def damage(folder: Path) -> None:
    with (folder / "journal.jsonl").open("r+b") as file:
        file.write(b"\xff" * 30)


async def open_and_close(folder: Path) -> None:
    async with ResponseStore(folder):
        pass


async def prune(folder: Path) -> None:
    async with ResponseStore(folder) as store:
        keys = [record.entry.request.key async for record in select(store, Selection(task="ens"))]
        for start in range(0, len(keys), 30):
            await store.remove(keys[start : start + 30])


async def mend(folder: Path) -> None:
    await asyncio.to_thread(repair, folder)


def run(work: Callable[[Path], Coroutine[Any, Any, None]], folder: Path) -> int:
    """Do it in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work(folder))
        finally:
            os._exit(0)
    return child


def main(kind: str, place: Path, rounds: int) -> int:
    chance = random.Random(11)
    # the index too is to be cut off
    journal.INDEXED_FROM, journal.INDEXED_AFTER = 1, 50
    work = {"create": fill, "header": open_and_close, "repair": mend, "prune": prune}[kind]
    everything = {f"{number}" for number in range(KEPT)} | {f"going {number}" for number in range(GOING)}
    cut_off = 0
    duration = 0.0
    number = -1
    # on a machine whose pace changes, some of the work is done before it is cut off
    while number < rounds or cut_off < rounds:
        number += 1
        assert number <= 5 * rounds, f"only {cut_off} of {2 * number} were cut off"
        folder = place / f"{number}"
        if kind != "create":
            asyncio.run(fill(folder))
        if kind in {"header", "repair"}:
            damage(folder)
        # Twice, so that what is cut off is what goes on with what was cut off.
        for _ in range(2):
            began = time.monotonic()
            child = run(work, folder)
            if number:
                time.sleep(chance.uniform(0.0, duration))
                os.kill(child, signal.SIGKILL)
            killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            cut_off += killed
            if not number or not killed:
                # The first round is not disturbed: it tells how long the work takes.
                took = time.monotonic() - began
                duration = min(duration or took, took)
        left = asyncio.run(found(folder))
        assert left <= everything, left - everything
        if kind in {"header", "repair"}:
            assert left == everything, everything - left
        if kind == "prune":
            assert left >= {f"{number}" for number in range(KEPT)}
        sound = verify(folder)
        assert not sound.damaged, sound.damaged
        asyncio.run(fill(folder))
        assert asyncio.run(found(folder)) == everything
        shutil.rmtree(folder)
    return cut_off


if __name__ == "__main__":
    print("well", main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
