"""The page that ``ants demo`` ends with: the build, its pictures with their labels, and a stream of other pictures."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ants_engine.ants import ANTS
    from ants_engine.datasets.image_lists import ListedImage
    from ants_engine.datasets.world import MixedStream, World
    from ants_engine.learning.report import BatchRecord
    from ants_engine.settings.config import Settings

BATCHES = 8
MOST = 480
"""Pictures of the stream: enough to see a detector learn, and no more."""


async def write_demo_report(
    path: Path, world: "World", ants: "ANTS", stream: "MixedStream", settings: "Settings"
) -> Path:
    """Write the page.

    Args:
        path: the file.
        world: where other pictures are taken from.
        ants: the detector that was built on ``stream``.
        stream: its pictures, with their sets and labels.
        settings: of the cold start that other pictures are streamed through.
    """
    from ants_engine.report.assemble import Options, detector_document
    from ants_engine.report.page import write_page

    others = _others(world, stream)
    batches = await _adapted(world, others, settings)
    labels = [
        world.classes[image.label] if image.label >= 0 else name
        for image, name in zip(stream.images, stream.sets, strict=True)
    ]
    paths = [image.path for image in stream.images]
    options = Options(title=f"{world.folder.resolve().name.replace('_', ' ').capitalize()}, a demonstration")
    document = await detector_document(ants.saved, ants.look_at, paths, labels=labels, options=options)
    missing = {name: text for name, text in document.missing.items() if name not in ("batches", "latency")}
    note = (
        f"Everything but the section on the stream is about one detector, built on {len(paths)} pictures at once. The "
        f"stream is a cold start on {len(others)} other pictures."
    )
    notes = (*document.notes, note) if others else document.notes
    shown = document.model_copy(update={"batches": batches, "notes": notes, "missing": missing})
    return await asyncio.to_thread(write_page, path, shown)


def _others(world: "World", stream: "MixedStream") -> "Sequence[ListedImage]":
    from ants_engine.datasets.world import mixed_stream

    seen = {image.path for image in stream.images}
    every = mixed_stream(world, seed=1)
    return [image for image in every.images if image.path not in seen][: min(MOST, len(stream.images))]


async def _adapted(world: "World", others: "Sequence[ListedImage]", settings: "Settings") -> "tuple[BatchRecord, ...]":
    from ants_engine import ANTS

    if not others:
        return ()
    cold = await ANTS.build(world.classes, config=settings)
    size = max(1, -(-len(others) // BATCHES))
    async for _ in cold.stream([image.path for image in others], batch_size=size):
        pass
    return tuple(cold.report.batches)
