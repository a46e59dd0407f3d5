"""A million pictures through one stream at preset ``reference``: does memory stay flat, and the pace?"""

import asyncio
import statistics
import sys

from benchmarks.gated_stream import GatedStream
from benchmarks.memory import resident_mb
from benchmarks.random_world import RandomWorld
from benchmarks.table import Row

PICTURES, CLASSES, NEGATIVES, DIM, BATCH = 1_000_000, 100, 1000, 64, 512


def run() -> list[Row]:
    """Measure."""
    seconds, resident, warm = asyncio.run(_run())
    tenth = len(seconds) // 10
    first, last = statistics.median(seconds[warm : warm + tenth]), statistics.median(seconds[-tenth:])
    for start in range(0, len(seconds) - tenth + 1, tenth):
        part = seconds[start : start + tenth]
        print(
            f"to picture {(start + tenth) * BATCH:>9,}: {resident[start + tenth - 1]:,.0f} MB resident, "
            f"{statistics.median(part) * 1e3:.2f} ms a batch",
            file=sys.stderr,
        )
    what = f"stream, {PICTURES:,} pictures, {CLASSES} + {NEGATIVES:,}, D = {DIM}"
    return [
        Row(
            f"{what}: last tenth against first after warm-up", "ms a batch", last * 1e3, limit=first * 1e3, at_most=1.05
        ),
        Row(
            f"{what}: resident at the end against after the first tenth",
            "MB",
            resident[-1],
            limit=resident[warm + tenth - 1],
            at_most=10.0,
            limit_is_difference=True,
        ),
    ]


async def _run() -> tuple[list[float], list[float], int]:
    """Return, per batch, seconds and MB; and the batch after which no captions were asked for."""
    world = RandomWorld.of(CLASSES, NEGATIVES, DIM)
    features = world.pictures(PICTURES)
    seconds, resident, warm = [], [], 0
    async with GatedStream(world, features, BATCH) as stream:
        for _ in range(0, PICTURES, BATCH):
            scored = await stream.next()
            seconds.append(scored.seconds)
            resident.append(resident_mb())
            adaptation = scored.scores.adaptation
            if adaptation is not None and adaptation.captions_asked is not None:
                warm = len(seconds)
    return seconds, resident, warm
