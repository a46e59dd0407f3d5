"""Puts a report together out of a detector, pictures, labels and a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from ants_engine.common.terminal_text import plain
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.detector.scores import Scores
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.method.metrics import FprConvention
from ants_engine.report.attribution import Attribution, attribute
from ants_engine.report.document import SCORE_NAMES, Column, Document, Pictures, Requests, SetAsideCount
from ants_engine.report.headline import facts_of, headline_of
from ants_engine.report.method_table import compare_methods
from ants_engine.report.missing import missing_of
from ants_engine.report.projection import centred, maps, normalised
from ants_engine.report.seen import Seen
from ants_engine.report.texts import TextRows, text_rows
from ants_engine.report.thumbnails import BOUND, thumbnails
from ants_engine.report.truth import Truth

REASONS = 30
"""Different reasons for setting something aside that are listed."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a report is asked to be."""

    title: str = "ANTS report"
    convention: FprConvention = "openood"
    thumbnail_bound: int = BOUND
    detector_name: str = "DETECTOR"
    """How the commands that the page names call the detector."""
    given: bool = True
    """The pictures were given, and not kept by the detector."""


def assemble(
    saved: SavedDetector, seen: Seen | None, truth: Truth | None, requests: Requests | None, options: Options
) -> Document:
    """Put the parts together (blocking).

    Args:
        saved: the detector; it is not changed.
        seen: the pictures that the report is about.
        truth: their labels.
        requests: what a run says.
        options: title and the like.

    Raises:
        MissingDependencyError: a library of the extra ``report`` is not installed.
    """
    detector = saved.state.detector
    scores = None if seen is None else detector.score(seen.features, seen.names, seen.failures)
    foreign = None if seen is None or scores is None else _foreign(seen, scores, truth)
    rows = [] if seen is None else seen.readable()
    found: Attribution | None = None
    if seen is not None and scores is not None and foreign is not None and rows:
        found = attribute(detector, seen.features[rows], torch.from_numpy(scores.id_score)[rows], foreign[rows])
    texts = text_rows(detector, found, rows, () if seen is None else seen.names, _to_catch(saved, seen, rows, foreign))
    comparison = None
    if seen is not None and scores is not None and truth is not None:
        comparison = compare_methods(detector, seen.features, scores, truth, options.convention)
    pictures = None
    if seen is not None and scores is not None:
        pictures = _pictures(saved, seen, scores, truth, rows, texts, options)
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
        maps=_maps(saved, seen, texts),
        batches=tuple(saved.report.batches),
        requests=requests,
        set_aside=_set_aside(saved),
        notes=tuple(plain(note) for note in saved.report.notes),
        facts=facts_of(saved),
        missing=missing_of(saved, seen, truth, comparison, requests, options.detector_name, given=options.given),
    )


def _foreign(seen: Seen, scores: Scores, truth: Truth | None) -> Tensor:
    """Say which pictures are unknown: by their label where there is one, else by the verdict."""
    foreign = torch.from_numpy(scores.is_outlier).clone()
    for row, label in enumerate(truth.labels if truth is not None else ()):
        if label is not None:
            foreign[row] = label.set_name != ID_SET
    return foreign


def _to_catch(saved: SavedDetector, seen: Seen | None, rows: list[int], foreign: Tensor | None) -> Tensor:
    """Return the pictures that the sentences should catch, about the mean of all pictures."""
    if seen is not None and foreign is not None:
        return centred(seen.features[rows])[foreign[rows]]
    state = saved.state
    if not len(state.negatives) or not state.looked:
        return state.negatives[:0]
    moved = state.negatives - (state.feature_sum / state.looked).to(state.negatives.dtype)
    return normalised(moved)


def _maps(saved: SavedDetector, seen: Seen | None, texts: TextRows) -> Any:
    if seen is None:
        return ()
    readable = [row not in seen.failures for row in range(len(seen.names))]
    if sum(readable) < 2:
        return ()
    return maps(seen.features, readable, saved.state.detector.class_features, texts.features)


def _pictures(
    saved: SavedDetector,
    seen: Seen,
    scores: Scores,
    truth: Truth | None,
    rows: Sequence[int],
    texts: TextRows,
    options: Options,
) -> Pictures:
    limits = saved.settings.pictures
    weighed: list[Any] = [()] * len(seen.names)
    for row, found in zip(rows, texts.weighed, strict=False):
        weighed[row] = found
    refs = [None if row in seen.failures else ref for row, ref in enumerate(seen.refs)]
    columns = {name: _column(getattr(scores, name).tolist()) for name in SCORE_NAMES}
    labels = None if truth is None else truth.labels
    return Pictures(
        names=tuple(plain(name) for name in seen.names),
        predicted=tuple(scores.predicted.tolist()),
        weighed=tuple(weighed),
        thumbnails=tuple(thumbnails(refs, limits, options.thumbnail_bound, limits.decode_threads)),
        errors=tuple(
            plain(str(seen.failures[row])) if row in seen.failures else None for row in range(len(seen.names))
        ),
        sets=None if labels is None else tuple(None if one is None else plain(one.set_name) for one in labels),
        labels=None if labels is None else tuple(None if one is None or one.label < 0 else one.label for one in labels),
        **columns,
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
