"""``python -m benchmarks.serve_throughput``: 64 clients of ``ants serve`` beside ``ants.score`` in one process.

The same pictures, the same detector, in turn, on the same cores: the clients' work is part of the server's figure.
"""

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ants_engine import ANTS
from benchmarks.table import Row, machine, table
from benchmarks.timing import medians
from tests.support.served import form, head, serving

WORLD = Path(__file__).parents[1] / "examples" / "emoji_world"
CLASSES = ("lion", "elephant", "panda", "zebra", "banana", "strawberry", "guitar", "violin", "bus", "tractor")
CLIENTS = 64
PICTURES = 1024
PER_REQUEST = (1, 4)
AT_LEAST = 0.85
"""Of what ``ants.score`` does in one process."""
ROUNDS = 5


def run() -> list[Row]:
    """Measure, and return a row per number of pictures in a request, with its latencies."""
    paths = sorted((WORLD / "pictures" / "images").glob("*/*/*.jpg"))[:PICTURES]
    pictures = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ants = asyncio.run(ANTS.build(CLASSES, config=str(WORLD), progress={"bar": "off"}))
        ants.save(folder / "detector")
        latencies: dict[int, list[float]] = {count: [] for count in PER_REQUEST}
        with serving(folder / "detector", folder / "log") as server:
            calls = {"score": lambda: asyncio.run(_score(ants, pictures))}
            for count in PER_REQUEST:
                requests = _requests(pictures, count)
                calls[f"serve {count}"] = lambda count=count, requests=requests: latencies[count].extend(  # type: ignore[misc]
                    asyncio.run(_clients(server.port, requests))
                )
            seconds = medians(calls, rounds=ROUNDS, warm=1)
    rows = []
    for count in PER_REQUEST:
        what = f"ants serve, {CLIENTS} clients, {count} a request"
        rows.append(
            Row(
                what,
                "pictures/s",
                PICTURES / seconds[f"serve {count}"],
                limit=PICTURES / seconds["score"],
                more_is_better=True,
                at_most=1 / AT_LEAST,
            )
        )
        hundredths = statistics.quantiles(latencies[count], n=100)
        rows.append(Row(f"{what}: p50", "ms", 1000 * hundredths[49]))
        rows.append(Row(f"{what}: p99", "ms", 1000 * hundredths[98]))
    return rows


async def _score(ants: ANTS, pictures: Sequence[bytes]) -> None:
    scores = await ants.score(list(pictures))
    if scores.failures:
        raise RuntimeError(f"{len(scores.failures)} pictures were not scored")


def _requests(pictures: Sequence[bytes], count: int) -> list[bytes]:
    """Write the requests beforehand: a client's own work should not count more than it must."""
    bodies = (form(*pictures[start : start + count]) for start in range(0, len(pictures), count))
    return [head(len(body)) + body for body in bodies]


async def _clients(port: int, requests: Sequence[bytes]) -> list[float]:
    """Send all requests over 64 connections, one at a time on each; return each one's seconds."""
    waiting = iter(requests)
    taken: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in waiting:
            started = time.perf_counter()
            writer.write(request)
            said = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", said)
            if not said.startswith(b"HTTP/1.1 200") or length is None:
                raise RuntimeError(said.decode())
            body = await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - started)
            if b'"score":null' in body:
                raise RuntimeError(body.decode())
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    return taken


if __name__ == "__main__":
    print(table(run()))
    print(f"\n{machine()}")
