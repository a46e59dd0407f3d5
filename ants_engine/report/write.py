"""Writing a report: from a detector, from pictures, from a run."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ants_engine.common.atomic_file import write_whole
from ants_engine.dispatch.runs.run_reader import RUN_NAME
from ants_engine.errors import UsageError
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.report.assemble import Options, assemble
from ants_engine.report.document import Document, Requests
from ants_engine.report.page import render_page
from ants_engine.report.request_log import read_requests
from ants_engine.report.seen import Encode, kept, look_at
from ants_engine.report.truth import LabelBook, Truth

Labels = Mapping[str, str | None] | Sequence[str | None] | Path | str


async def detector_document(
    saved: SavedDetector,
    encode: Encode,
    pictures: Any = None,
    *,
    features: Any = None,
    labels: Labels | None = None,
    run: Path | None = None,
    options: Options | None = None,
) -> Document:
    """Return what a report on a detector says; see `ANTS.write_report`."""
    options, classes = options or Options(), saved.state.detector.classes.names
    book: LabelBook | None = None
    if isinstance(labels, str | Path):
        book = await asyncio.to_thread(LabelBook.read, Path(labels), classes)
    elif isinstance(labels, Mapping):
        book = LabelBook.of_mapping(labels, classes)
    if pictures is None and features is None and book is not None and book.images:
        pictures = list(book.images)
    given = pictures is not None or features is not None
    seen = await look_at(saved.state.detector.dim, encode, pictures, features) if given else kept(saved)
    truth: Truth | None = None
    if seen is not None and labels is not None:
        truth = Truth.of_sequence(labels, classes) if book is None else book.match(seen.names)  # type: ignore[arg-type]
        if len(truth.labels) != len(seen.names):
            raise UsageError(
                f"{len(truth.labels)} labels for {len(seen.names)} pictures; give one each, None if unknown"
            )
    run = run or _own_run(saved)
    requests = None if run is None else await asyncio.to_thread(read_requests, run)
    return await asyncio.to_thread(assemble, saved, seen, truth, requests, replace(options, given=given))


def _own_run(saved: SavedDetector) -> Path | None:
    """Find the run that the detector says it came out of, where its record still is."""
    batches, root = saved.report.batches, saved.settings.dispatch.runs
    name = (batches[-1].run if batches else None) or saved.report.run
    # a name and no path: a folder from elsewhere must not choose what is read
    if name is None or root is None or not RUN_NAME.fullmatch(name) or not (root / name).is_dir():
        return None
    return root / name


def run_document(run: Path, title: str | None = None) -> Document:
    """Return what a report on a run alone says: its detector is not known.

    Raises:
        MissingDependencyError: a library of the extra ``report`` is not installed.
    """
    requests = read_requests(run)
    return _of_requests(requests, title or f"Run {requests.run}")


def write_page(path: Path, document: Document) -> Path:
    """Write the page; an older one stays whole until this one is.

    Raises:
        UsageError: the file cannot be written.
        MissingDependencyError: a library of the extra ``report`` is not installed.
    """
    page = render_page(document).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _of_requests(requests: Requests, title: str) -> Document:
    return Document(
        title=title,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        threshold=None,
        weight=None,
        headline=requests.facts[:6],
        requests=requests,
        missing={},
    )
