"""A whole stream at preset ``reference``, features in: does it stay as fast as it began, and beside the literal way."""

import asyncio
import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.gated_stream import GatedStream
from benchmarks.literal_stream import serve
from benchmarks.memory import peak_mb
from benchmarks.random_world import RandomWorld
from benchmarks.table import Row

PICTURES, CLASSES, NEGATIVES, DIM, BATCH = 50_000, 1000, 10_000, 512, 256
EARLY = 5000


@dataclass(slots=True)
class Times:
    """Seconds per batch."""

    ours: list[float] = field(default_factory=list)
    literal: list[float] = field(default_factory=list)
    product: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    """Our process's largest memory in MB after each batch."""
    warm: int = 0
    """Batches until the last captions were asked for: from then on the banks have their size."""
    worst: float = 0.0
    """Largest difference between our score and the literal one."""


def run() -> list[Row]:
    """Measure."""
    times = asyncio.run(_run())
    tenth = len(times.ours) // 10
    first, last = times.ours[times.warm : times.warm + tenth], times.ours[-tenth:]
    print(
        f"banks grew until batch {times.warm} of {len(times.ours)}; the two scores differ by {times.worst:.1e} at most",
        file=sys.stderr,
    )
    early = times.peaks[EARLY // BATCH]
    what = f"stream, {PICTURES:,} pictures, reference"
    return [
        Row(
            f"{what}: whole", "s", sum(times.ours), baseline=sum(times.literal), limit=sum(times.product), at_least=5.0
        ),
        Row(
            f"{what}: last tenth against first after warm-up",
            "ms a batch",
            statistics.median(last) * 1e3,
            limit=statistics.median(first) * 1e3,
            at_most=1.05,
        ),
        Row(
            f"{what}: the same, literal",
            "ms a batch",
            statistics.median(times.literal[-tenth:]) * 1e3,
            limit=statistics.median(times.literal[times.warm : times.warm + tenth]) * 1e3,
        ),
        Row(
            f"{what}: peak memory at the end against at {EARLY:,}",
            "MB",
            times.peaks[-1],
            limit=early,
            at_most=50.0,
            limit_is_difference=True,
        ),
    ]


async def _run() -> Times:
    world = RandomWorld.of(CLASSES, NEGATIVES, DIM)
    features = world.pictures(PICTURES)
    texts = torch.cat([world.classes, world.negatives])
    logits = torch.empty(BATCH, len(texts))
    mine, theirs = multiprocessing.get_context("spawn").Pipe()
    arguments = (theirs, (CLASSES, NEGATIVES, DIM), PICTURES, BATCH, torch.get_num_threads())
    literal = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    literal.start()
    # held here too, its end would never be noticed
    theirs.close()
    mine.recv()
    times = Times()
    async with GatedStream(world, features, BATCH) as stream:
        for start in range(0, PICTURES, BATCH):
            scored = await stream.next()
            times.ours.append(scored.seconds)
            times.peaks.append(peak_mb())
            mine.send(None)
            seconds, scores = await asyncio.to_thread(mine.recv)
            times.literal.append(seconds)
            times.worst = max(times.worst, float(np.abs(scores - scored.scores.id_score).max()))
            rows = features[start : start + BATCH]
            began = time.perf_counter()
            torch.matmul(rows, texts.T, out=logits[: len(rows)])
            times.product.append(time.perf_counter() - began)
            if scored.asked:
                times.warm = len(times.ours)
    literal.join()
    return times
