"""A million pictures through one stream at preset ``reference``: does memory stay flat, and the pace?

Fixed work beside each batch tells how the machine's own pace moved. It runs in the same process, so it does not tell
that apart from something that slows the whole process.
"""

import asyncio
import statistics
import sys
import time

import torch
from torch import Tensor

from benchmarks.gated_stream import GatedStream
from benchmarks.memory import resident_mb
from benchmarks.random_world import RandomWorld
from benchmarks.table import Row

PICTURES, CLASSES, NEGATIVES, DIM, BATCH = 1_000_000, 100, 1000, 64, 512


def run() -> list[Row]:
    """Measure."""
    seconds, resident, fixed, warm = asyncio.run(_run())
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
            f"{what}: the same, fixed work beside it",
            "ms a batch",
            statistics.median(fixed[-tenth:]) * 1e3,
            limit=statistics.median(fixed[warm : warm + tenth]) * 1e3,
        ),
        Row(
            f"{what}: resident in the last tenth against after the first tenth",
            "MB",
            # not the very last one: the features are let go of there
            statistics.median(resident[-tenth:]),
            limit=resident[warm + tenth - 1],
            at_most=10.0,
            limit_is_difference=True,
        ),
    ]


async def _run() -> tuple[list[float], list[float], list[float], int]:
    """Return, per batch, seconds, MB and the fixed work's seconds; and the batch of the last captions."""
    world = RandomWorld.of(CLASSES, NEGATIVES, DIM)
    features = world.pictures(PICTURES)
    texts = torch.cat([world.classes, world.negatives])
    seconds, resident, fixed, warm = [], [], [], 0
    async with GatedStream(world, features, BATCH) as stream:
        for _ in range(0, PICTURES, BATCH):
            scored = await stream.next()
            seconds.append(scored.seconds)
            resident.append(resident_mb())
            fixed.append(_fixed_work(features[:BATCH], texts))
            if scored.asked:
                warm = len(seconds)
    return seconds, resident, fixed, warm


def _fixed_work(features: Tensor, texts: Tensor) -> float:
    """Return the seconds for what a batch is mostly made of: many small objects, and a few products."""
    began = time.perf_counter()
    objects = [{"number": number, "name": f"#{number}"} for number in range(12_000)]
    for _ in range(4):
        (features @ texts.T).exp_().sum(dim=1)
    del objects
    return time.perf_counter() - began
