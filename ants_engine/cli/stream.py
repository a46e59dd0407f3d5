"""``ants stream``: score pictures as they come, with a detector that adapts to them."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ants_engine.cli.live import Watched, watched, with_live
from ants_engine.cli.options import open_pictures, overrides, print_scores, with_assignments, with_json, with_pictures
from ants_engine.cli.output import print_json, say
from ants_engine.common.terminal_text import plain_parts

if TYPE_CHECKING:
    from ants_engine import ANTS


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@with_pictures(required=True)
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures scored together; stream.batch_size otherwise.")
@click.option("--lag", type=click.IntRange(min=0), help="Batches between a question to the MLLM and its effect.")
@click.option("--reset", is_flag=True, help="Forget what earlier streams have learned.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Save to this folder, not back to DETECTOR.")
@click.option("--dry", is_flag=True, help="Save nothing.")
@with_live
@with_assignments
@with_json
def stream(
    detector: Path,
    images: tuple[str, ...],
    batch_size: int | None,
    lag: int | None,
    reset: bool,
    out: Path | None,
    dry: bool,
    live: int | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Score IMAGES (files, folders and quoted globs) in order, adapting the DETECTOR folder to them.

    What it has learned is saved when the pictures end, or when it is interrupted: the next call goes on from there,
    with the pictures that have not been delivered yet. Ends with exit code 1 where too few answers could be used.
    With --live a page shows how it goes.
    """
    from ants_engine.learning.preflight import check_detector, check_detector_out

    check_detector(detector)
    keywords = overrides(assignments)
    given = open_pictures(images)
    if not dry:
        check_detector_out(out or detector)
    # only now what takes seconds to import
    from ants_engine import ANTS

    ants = ANTS.load(detector, **keywords)
    if reset:
        ants.reset()
    before, kept = ants.state.pictures, False

    def keep() -> Path | None:
        nonlocal kept
        if dry:
            return None
        if not kept:
            ants.save(out or detector)
            kept = True
            say(f"saved to {out or detector}, after {ants.state.pictures - before} pictures of this call", err=True)
        return out or detector

    title = f"Stream through {detector.resolve().name}"

    async def run() -> tuple[int, list[str]]:
        async with watched(live, title) as watching:
            found = await _run(ants, given, batch_size, lag, as_json, watching)
            await watching.finish(ants, keep())
            return found

    try:
        unreadable, degraded = asyncio.run(run())
    finally:
        # an interrupted stream keeps the state of its last batch; one that never began must not cost what is there
        if ants.state.pictures > before:
            keep()
    for line in degraded:
        say(f"DEGRADED: {line}", err=True)
    if degraded:
        return 1
    return 3 if unreadable else 0


async def _run(
    ants: "ANTS", images: Any, batch_size: int | None, lag: int | None, as_json: bool, watching: Watched
) -> tuple[int, list[str]]:
    unreadable = 0
    async with ants.stream(images, batch_size=batch_size, lag=lag, observers=watching.observers) as scored:
        async for scores in scored:
            unreadable += len(scores.failures)
            now = scores.adaptation
            if as_json:
                # one document a batch: a stream may have no end
                print_json(scores.to_dict(), indent=None)
                continue
            if now is not None:
                say(
                    f"batch {now.batch}: {now.ens_texts} sentences, {now.vsnl_texts} look-alikes, "
                    f"lambda {now.weight:.3f}, threshold {now.threshold:.3f}"
                )
            print_scores(scores)
    if not as_json:
        say(str(plain_parts(scored.report)))
    least = ants.settings.dispatch.min_success
    degraded = [
        f"{task}: {useless} of {asked} answers could not be used; scores stand on what there was"
        for task, (asked, useless) in scored.report.tasks.items()
        if useless > (1 if asked > 1 else 0) and 1 - useless / asked < least
    ]
    return unreadable, degraded
