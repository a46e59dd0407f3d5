"""``python -m benchmarks.serve_bodies``: what hostile bodies cost ``ants serve``, in memory and in waiting.

Each body has the size that one request may have. The bars hold for any: four times its bytes and 64 MiB of memory at
the peak, counted from a server that has only begun, and ``/healthz`` within a quarter of a second meanwhile.
"""

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ants_engine import ANTS
from benchmarks.serve_throughput import CLASSES, WORLD
from benchmarks.table import Row, machine
from tests.support.hostile_bodies import KINDS, MIB, post, watched
from tests.support.served import Served, serving

LIMIT = 32 * MIB
SPARE = 64 * MIB
QUIET = 0.25
"""Seconds in which ``/healthz`` has to be answered."""
TOGETHER = 4
"""Requests at once, in the last rows."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the bodies of one row cost."""

    what: str
    size: int
    """Bytes, of all that were sent at once."""
    statuses: list[int]
    grown: int
    slowest: float

    @property
    def allowed(self) -> int:
        """Bytes of memory."""
        return 4 * self.size + SPARE


def measure() -> list[Measured]:
    """Send each kind of body alone, and then some of them four at a time, to a server of the emoji world."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ants = asyncio.run(ANTS.build(CLASSES, config=str(WORLD), progress={"bar": "off"}))
        ants.save(folder / "detector")
        with serving(folder / "detector", folder / "log") as server:
            rested = server.resident()
            alone = [_send(server, rested, what, kind, make, 1) for what, (kind, make) in KINDS.items()]
            return alone + [
                _send(server, rested, f"{TOGETHER} × {what}", *KINDS[what], TOGETHER)
                for what in ("base64", "escaped slashes", "a file of boundaries with a tail")
            ]


def _send(server: Served, rested: int, what: str, kind: str, make: Callable[[int], bytes], count: int) -> Measured:
    body = make(LIMIT)
    with watched(server) as cost, ThreadPoolExecutor(count) as threads:
        statuses = list(threads.map(lambda _: post(server, kind, body), range(count)))
    return Measured(what, count * len(body), statuses, cost.peak - rested, cost.slowest)


def run() -> list[Row]:
    """Return two rows for each kind of body: memory, and ``/healthz``."""
    rows = []
    for one in measure():
        rows.append(Row(f"{one.what}: memory", "MiB", one.grown / MIB, limit=one.allowed / MIB, at_most=1))
        rows.append(Row(f"{one.what}: slowest /healthz", "ms", 1000 * one.slowest, limit=1000 * QUIET, at_most=1))
    return rows


def main() -> None:
    """Print the table of ``docs/serving.md``."""
    print("| body | MiB | status | memory at the peak, MiB | allowed | slowest `/healthz`, ms |")
    print("|---|---|---|---|---|---|")
    for one in measure():
        statuses = ", ".join(map(str, sorted(set(one.statuses))))
        print(
            f"| {one.what} | {one.size / MIB:.0f} | {statuses} | +{one.grown / MIB:.0f} | {one.allowed / MIB:.0f} "
            f"| {1000 * one.slowest:.0f} |",
            flush=True,
        )
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
