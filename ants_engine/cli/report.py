"""``ants report``: write a page that shows what a detector, or a run, did."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ants_engine.cli.options import (
    assigned,
    load_frozen,
    open_pictures,
    overrides,
    settings_from,
    with_assignments,
    with_pictures,
)
from ants_engine.cli.output import CONVENTIONS, say
from ants_engine.common.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine.clip.sources import ImageStream
    from ants_engine.method.metrics import FprConvention
    from ants_engine.report.document import Document

MEGABYTE = 1_000_000


@click.command()
@click.argument("source", metavar="RUN_OR_DETECTOR")
@with_pictures(required=False, metavar="[PICTURES]...")
@click.option("-o", "--out", type=click.Path(path_type=Path), default="report.html", show_default=True)
@click.option(
    "--labels",
    type=click.Path(exists=True, path_type=Path),
    help="A CSV of picture,class (an empty class is an unknown picture), or a folder with id/, near/, far/.",
)
@click.option("--run", "run_name", help="A run to show beside a detector: a folder, or a run's name.")
@click.option(
    "--detector", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The detector of a RUN."
)
@click.option("--title", help="What stands above the page.")
@click.option("--convention", type=click.Choice(list(CONVENTIONS)), default="openood", show_default=True)
@click.option(
    "--thumbnails", type=click.FloatRange(0, 200), default=4.0, show_default=True, help="Megabytes of all together."
)
@with_assignments
def report(
    source: str,
    images: tuple[str, ...],
    out: Path,
    labels: Path | None,
    run_name: str | None,
    detector: Path | None,
    title: str | None,
    convention: "FprConvention",
    thumbnails: float,
    assignments: tuple[str, ...],
) -> int:
    """Write one HTML file about RUN_OR_DETECTOR: a folder of a detector, or of a run, or a run's name.

    PICTURES (files, folders and quoted globs) are scored, and shown with the reasons. Without them, the page
    shows what the detector has kept of those that it has seen. With --labels it says what is right and what is wrong.
    """
    from ants_engine.learning.preflight import check_file_out, holds_detector
    from ants_engine.settings.uses import named

    folder = Path(source)
    if holds_detector(folder):
        if detector is not None:
            raise click.UsageError(f"{source} is a detector itself; name a run to use --detector")
        run = None if run_name is None else _run_folder(run_name, assignments)
    else:
        if run_name is not None:
            raise click.UsageError(f"{source} is no detector folder; --run goes with one")
        run = _run_folder(source, assignments)
        if detector is None:
            if images or labels is not None:
                raise click.UsageError("pictures and labels need a detector: name its folder with --detector")
            unused = sorted(set(named(assigned(assignments))) - {"dispatch.runs"})
            if unused:
                raise click.UsageError(f"--set {', '.join(unused)}: for a detector; name its folder with --detector")
            check_file_out(out)
            from ants_engine.report.assemble import run_document
            from ants_engine.report.page import write_page

            document = run_document(run, title)
            return _written(write_page(out, document), document)
        folder = detector
    keywords = overrides(assignments)
    pictures = open_pictures(images)
    check_file_out(out)
    # only now what takes seconds to import
    from ants_engine.report.page import write_page

    shown = title or f"Detector {folder.resolve().name}"
    document = asyncio.run(
        _document(folder, pictures, labels, run, shown, convention, round(thumbnails * MEGABYTE), keywords)
    )
    return _written(write_page(out, document), document)


async def _document(
    folder: Path,
    pictures: "ImageStream | None",
    labels: Path | None,
    run: Path | None,
    title: str,
    convention: "FprConvention",
    bound: int,
    keywords: dict[str, Any],
) -> "Document":
    from ants_engine.report.assemble import Options, detector_document

    options = Options(
        title=title,
        convention=convention,
        thumbnail_bound=bound,
        detector_name=str(folder),
    )
    ants = load_frozen(folder, keywords, shown=("dispatch", "mllm"))
    return await detector_document(ants.saved, ants.look_at, pictures, labels=labels, run=run, options=options)


def _run_folder(name: str, assignments: tuple[str, ...]) -> Path:
    from ants_engine.dispatch.runs.run_reader import find_run

    runs = settings_from(None, assignments).dispatch.runs
    return find_run(runs or Path(), name)


def _written(path: Path, document: "Document") -> int:
    size = path.stat().st_size / MEGABYTE
    say(plain(f"{path} ({size:.1f} MB)"))
    for sentence in document.missing.values():
        say(plain(f"  {sentence}"), err=True)
    pictures = document.pictures
    failed = [] if pictures is None else [error for error in pictures.errors if error]
    for error in failed:
        say(plain(f"  unreadable: {error}"), err=True)
    return 3 if failed else 0
