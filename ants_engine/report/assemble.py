"""Assembles a report's document from a detector, pictures, labels and a run folder."""

import asyncio
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ants_engine.common.terminal_text import plain
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.runs.run_reader import RUN_NAME
from ants_engine.errors import UsageError
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.method.metrics import FprConvention
from ants_engine.report.document import (
    SCORE_NAMES,
    Column,
    Document,
    MethodComparison,
    ReportPictures,
    Requests,
    SetAsideCount,
)
from ants_engine.report.facts import facts_of, headline_of, read_requests
from ants_engine.report.projection import centred, maps, normalised
from ants_engine.report.seen import Encode, Seen, kept, look_at
from ants_engine.report.texts import ReportTexts, attribute, text_rows
from ants_engine.report.thumbnails import BOUND, thumbnails
from ants_engine.report.truth import LabelBook, Truth, compare_methods

Labels = Mapping[str, str | None] | Sequence[str | None] | Path | str
REASONS = 30
"""Reasons for setting something aside that are listed, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a report."""

    title: str = "ANTS report"
    convention: FprConvention = "openood"
    thumbnail_bound: int = BOUND
    """Characters of all thumbnails together."""
    detector_name: str = "DETECTOR"
    """The detector's name in the commands that the page suggests."""
    given: bool = True
    """The pictures were given, and are not those that the detector has kept."""


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
    """Return a report on a detector; see `ANTS.write_report`."""
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
    return await asyncio.to_thread(_assemble, saved, seen, truth, requests, replace(options, given=given))


def _own_run(saved: SavedDetector) -> Path | None:
    """Find the run folder that the detector names, if it still exists."""
    batches, root = saved.report.batches, saved.settings.dispatch.runs
    name = (batches[-1].run if batches else None) or saved.report.run
    # a name and no path: a detector from elsewhere must not choose what is read
    if name is None or root is None or not RUN_NAME.fullmatch(name) or not (root / name).is_dir():
        return None
    return root / name


def run_document(run: Path, title: str | None = None) -> Document:
    """Return a report on a run alone, without its detector."""
    requests = read_requests(run)
    return Document(
        title=title or f"Run {requests.run}",
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        threshold=None,
        weight=None,
        headline=requests.facts[:6],
        requests=requests,
    )


def _assemble(
    saved: SavedDetector, seen: Seen | None, truth: Truth | None, requests: Requests | None, options: Options
) -> Document:
    detector = saved.state.detector
    scores, found, comparison, pictures = None, None, None, None
    rows: list[int] = []
    if seen is not None:
        scores = detector.score(seen.features, seen.names, seen.failures)
        rows = seen.readable()
        is_ood = _is_ood(scores, truth)
        to_catch = centred(seen.features[rows])[is_ood[rows]]
        # a pool adds log-odds: no text has a share of its score
        if rows and detector.fusion != "pool":
            found = attribute(detector, seen.features[rows], torch.from_numpy(scores.id_score)[rows], is_ood[rows])
        if truth is not None:
            comparison = compare_methods(detector, seen.features, scores, truth, options.convention)
    else:
        to_catch = _kept_to_catch(saved)
    texts = text_rows(detector, found, rows, () if seen is None else seen.names, to_catch)
    if seen is not None and scores is not None:
        pictures = _pictures(saved, seen, scores, truth, texts, options)
    return Document(
        title=plain(options.title),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        threshold=detector.threshold,
        weight=detector.weight,
        headline=headline_of(saved, scores),
        classes=tuple(plain(name) for name in detector.classes.names),
        pictures=pictures,
        texts=texts.texts,
        comparison=comparison,
        maps=()
        if seen is None or len(rows) < 2
        else maps(seen.features, rows, detector.class_features, texts.features),
        batches=tuple(saved.report.batches),
        requests=requests,
        set_aside=_set_aside(saved),
        notes=tuple(plain(note) for note in saved.report.notes),
        facts=facts_of(saved),
        missing=_missing(saved, seen, truth, comparison, requests, options),
    )


def _is_ood(scores: Scores, truth: Truth | None) -> Tensor:
    """Return which pictures are OOD (N,): by their label where there is one, else by the verdict."""
    is_ood = torch.from_numpy(scores.is_outlier).clone()
    for row, label in enumerate(truth.labels if truth is not None else ()):
        if label is not None:
            is_ood[row] = label.set_name != ID_SET
    return is_ood


def _kept_to_catch(saved: SavedDetector) -> Tensor:
    """Return the detector's own negative images (K, D), about the mean of all pictures that it has seen."""
    state = saved.state
    if not len(state.negatives) or not state.looked:
        return state.negatives[:0]
    return normalised(state.negatives - (state.feature_sum / state.looked).to(state.negatives.dtype))


def _pictures(
    saved: SavedDetector, seen: Seen, scores: Scores, truth: Truth | None, texts: ReportTexts, options: Options
) -> ReportPictures:
    limits, count = saved.settings.pictures, len(seen.names)
    weighed: list[Any] = [()] * count
    for row, found in zip(seen.readable(), texts.weighed, strict=False):
        weighed[row] = found
    refs = [None if row in seen.failures else ref for row, ref in enumerate(seen.refs)]
    labels = None if truth is None else truth.labels
    return ReportPictures(
        names=tuple(plain(name) for name in seen.names),
        predicted=tuple(scores.predicted.tolist()),
        weighed=tuple(weighed),
        thumbnails=tuple(thumbnails(refs, limits, options.thumbnail_bound, limits.decode_threads)),
        errors=tuple(plain(str(seen.failures[row])) if row in seen.failures else None for row in range(count)),
        sets=None if labels is None else tuple(None if one is None else plain(one.set_name) for one in labels),
        labels=None if labels is None else tuple(None if one is None or one.label < 0 else one.label for one in labels),
        **{name: _column(getattr(scores, name).tolist()) for name in SCORE_NAMES},
    )


def _column(values: Sequence[float]) -> Column:
    # nine digits are every bit of a float32: a score at the threshold stays there
    return tuple(None if math.isnan(value) else float(f"{value:.9g}") for value in values)


def _set_aside(saved: SavedDetector) -> tuple[SetAsideCount, ...]:
    examples: dict[tuple[str, str], str] = {}
    for item in saved.report.set_aside:
        examples.setdefault((item.what, item.reason), item.name)
    return tuple(
        SetAsideCount(what=what, reason=plain(reason), count=count, example=plain(examples.get((what, reason), "")))
        for (what, reason), count in saved.report.reasons().most_common(REASONS)
    )


def _missing(
    saved: SavedDetector,
    seen: Seen | None,
    truth: Truth | None,
    comparison: MethodComparison | None,
    requests: Requests | None,
    options: Options,
) -> dict[str, str]:
    """Return section → a sentence with the command that completes it, for every section that is not complete."""
    name = shlex.quote(options.detector_name)
    found: dict[str, str] = {}
    if seen is None:
        found["pictures"] = f"No pictures: ants report {name} my_pictures/ scores and shows them."
    elif not options.given:
        found["thumbnails"] = (
            "These are the latest pictures that the detector has seen, by their features; a detector folder holds no "
            f"pictures. To see them: ants report {name} my_pictures/"
        )
    elif not any(seen.refs):
        found["thumbnails"] = "Only features were given, so there are no pictures to show."
    if truth is None:
        found["labels"] = (
            f"No labels, so nothing can be called right or wrong: ants report {name} my_pictures/ --labels "
            "labels.csv (picture,class a line; an empty class is an unknown picture), or --labels FOLDER with id/, "
            "near/ and far/."
        )
    elif comparison is None:
        found["labels"] = "The labels name no ID picture, or no unknown one: rates need both."
    if not len(saved.state.detector.ens) and not len(saved.state.detector.vsnl):
        found["texts"] = (
            f"The detector has no sentence and no look-alike yet: ants stream {name} my_pictures/ lets it learn."
        )
    elif seen is not None and saved.state.detector.fusion == "pool":
        found["texts"] = 'id_score pools log-odds (scoring.in_score = "pool"), so no text has a share of it to show.'
    if not saved.report.batches:
        found["batches"] = (
            "No stream has gone through this detector (one build learns from all pictures at once): ants stream "
            f"{name} more_pictures/ adapts batch by batch, and is kept."
        )
    elif not any(one.calls for one in saved.report.batches):
        found["latency"] = (
            "Every answer came from the response store, so no call has a latency; a stream of other pictures asks anew."
        )
    if requests is not None and not requests.seconds:
        found["answers"] = "The MLLM itself answered nothing in this run, so there is no latency and no rate to show."
    if requests is None:
        found["requests"] = f"No run was named: ants report {name} --run RUN; ants run list names the runs."
    return found
