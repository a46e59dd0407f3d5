"""``ants build`` and ``ants replay``: make a detector from class names and pictures."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ants_engine.cli.live import watched, with_live
from ants_engine.cli.options import (
    open_pictures,
    read_classes,
    settings_from,
    with_column,
    with_json,
    with_pictures,
    with_settings,
)
from ants_engine.cli.output import print_json, say

if TYPE_CHECKING:
    from ants_engine import ANTS
    from ants_engine.clip.sources import ImageStream
    from ants_engine.settings.config import Settings

CLASSES = click.option(
    "--classes", required=True, help="A file with one class name a line, a table (see --column), or names with commas."
)
OUT = click.option("-o", "--out", type=click.Path(path_type=Path), help="Save the detector to this folder.")


@click.command()
@CLASSES
@with_column
@OUT
@with_live
@with_settings
@with_json
@with_pictures(required=False, classes=True)
def build(
    classes: str,
    column: str | None,
    out: Path | None,
    live: int | None,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    images: tuple[str, ...],
) -> int:
    """Build a detector from IMAGES: files, folders and quoted globs; without any, a cold start for a stream.

    With --live a page shows how it goes, and with -o the report is written into that folder when it is done.
    """
    return _run(read_classes(classes, column), images, settings_from(config, assignments), out, as_json, live)


@click.command()
@CLASSES
@with_column
@OUT
@with_settings
@with_json
@with_pictures(required=False, classes=True)
def replay(
    classes: str,
    column: str | None,
    out: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
    images: tuple[str, ...],
) -> int:
    """Build again from recorded answers only: no MLLM, no network, the same bits."""
    settings = settings_from(config, assignments, dispatch={"mode": "replay"})
    return _run(read_classes(classes, column), images, settings, out, as_json)


def _run(
    classes: list[str],
    images: tuple[str, ...],
    settings: "Settings",
    out: Path | None,
    as_json: bool,
    live: int | None = None,
) -> int:
    from ants_engine.common.terminal_text import plain, plain_parts
    from ants_engine.detector.class_list import ClassList

    # before anything costs time: a list that was misread shows here
    say(plain(str(ClassList.of(classes, settings.text.class_template))), err=as_json)
    ants = asyncio.run(_built(classes, open_pictures(images), settings, out, live))
    if as_json:
        report = ants.report.to_dict()
        print_json(
            {"detector": str(out) if out else None, "weight": ants.weight, "threshold": ants.threshold, **report}
        )
    else:
        say(str(plain_parts(ants.report)))
        pooled = ants.detector.fusion == "pool"
        said = "" if pooled else f"lambda {ants.weight:.3f} (1 = far-OOD, 0 = near-OOD), "
        say(f"{said}threshold {ants.threshold:.3f}")
        say(f"saved to {out}" if out else "not saved; name a folder with -o to keep the detector")
    return 3 if "picture" in ants.report.set_aside_reasons else 0


async def _built(
    classes: list[str], images: "ImageStream | None", settings: "Settings", out: Path | None, live: int | None
) -> "ANTS":
    from ants_engine.learning.preflight import check_detector_out, check_mllm, check_models

    if out is not None:
        check_detector_out(out)
    check_models(settings)
    if images is not None:
        await check_mllm(settings)
    # only now what takes seconds to import
    from ants_engine import ANTS

    async with watched(live, "Building a detector" if out is None else f"Building {out.name}") as run:
        ants = await ANTS.build(classes, images, config=settings, observers=run.observers)
        if out is not None:
            ants.save(out)
        await run.finish(ants, out)
    return ants
