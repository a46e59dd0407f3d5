"""The figures of a report, drawn once; a script only places a threshold over them."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ants_engine.learning.report import BatchRecord
from ants_engine.report.document import Comparison, Document, Map, Pictures, Requests, ScoreName
from ants_engine.report.groups import Group, groups_of
from ants_engine.report.svg import COLOURS, LAYER, Drawing, Figure, drawing

BINS = 48
BANK_COLOURS = {"ens": "set-4", "vsnl": "set-3", "neglabel": "muted"}
CURVE_COLOURS = ("foreign", "set-2", "set-3", "set-4", "known", "accent", "muted", "ink")
DASHES = ("", "5 2", "1.2 1.6", "7 2 1.2 2")
MOST_POINTS = 6000
"""Points of one layer of a map that are drawn."""


def figures_of(document: Document) -> dict[str, Figure]:
    """Draw every figure that the document has data for.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    found: dict[str, Figure] = {}
    pictures = document.pictures
    if pictures is not None and any(value is not None for value in pictures.id_score):
        found |= _distributions(pictures, document.threshold)
    if document.comparison is not None:
        found["roc"] = _roc(document.comparison)
    for one in document.maps:
        found[f"map-{one.method}"] = _map(one, document)
    if document.batches:
        found |= _stream(document.batches)
    if document.requests is not None:
        found |= _requests(document.requests)
    return found


def _distributions(pictures: Pictures, threshold: float | None) -> dict[str, Figure]:
    groups = groups_of(pictures)
    names: tuple[ScoreName, ...] = ("id_score", "ens_score", "vsnl_score", "neglabel_score")
    return {name: _distribution(pictures, groups, name, threshold) for name in names}


def _distribution(pictures: Pictures, groups: Sequence[Group], name: ScoreName, threshold: float | None) -> Figure:
    column = pictures.column(name)
    values = [value for value in column if value is not None]
    shown = [*values, threshold] if name == "id_score" and threshold is not None else values
    low, high = min(shown), max(shown)
    margin = max((high - low) * 0.04, 0.005)
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    edges = np.linspace(low, high, BINS + 1)
    size = (400, 230) if name == "id_score" else (310, 200)
    with drawing(name, *size) as drawn:
        for group in groups:
            own = [value for row in group.rows if (value := column[row]) is not None]
            counts, _ = np.histogram(own, edges)
            colour = COLOURS[group.colour]
            drawn.axes.stairs(counts, edges, fill=True, color=colour, alpha=0.2)
            drawn.axes.stairs(counts, edges, color=colour, linewidth=1.6)
        if name == "id_score" and threshold is not None:
            drawn.axes.axvline(threshold, color=COLOURS["ink"], linewidth=1, linestyle=(0, (3, 3)))
        drawn.axes.set_xlim(low, high)
        drawn.axes.set_xlabel("← more unknown   ·   more known →")
        drawn.axes.set_ylabel("pictures")
        _whole(drawn)
    return _done(drawn)


def _roc(comparison: Comparison) -> Figure:
    with drawing("roc", 400, 330) as drawn:
        axes = drawn.axes
        axes.plot([0, 1], [0, 1], color=COLOURS["grid"], linewidth=1)
        for number, method in enumerate(comparison.methods):
            x, y = zip(*method.roc, strict=True)
            colour, dash = curve_look(number)
            axes.plot(x, y, color=COLOURS[colour], linestyle=_dashes(dash), linewidth=2.4 if method.ours else 1.4)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.005)
        foreign = comparison.convention == "openood"
        axes.set_xlabel("FPR: known pictures called unknown" if foreign else "FPR: unknown pictures called known")
        axes.set_ylabel("TPR: unknown ones caught" if foreign else "TPR: known ones kept")
    return _done(drawn)


def curve_look(number: int) -> tuple[str, str]:
    """Return a curve's colour by name, and its dashes as SVG writes them: no two curves look alike."""
    turns, place = divmod(number, len(CURVE_COLOURS))
    return CURVE_COLOURS[place], DASHES[(place + turns) % len(DASHES)]


def _dashes(dash: str) -> Any:
    return (0, tuple(map(float, dash.split()))) if dash else "-"


def _map(one: Map, document: Document) -> Figure:
    with drawing(f"map-{one.method}", 560, 440) as drawn:
        axes = drawn.axes
        if document.pictures is not None:
            for number, group in enumerate(groups_of(document.pictures)):
                points = [place for row in group.rows if (place := one.pictures[row]) is not None]
                _points(drawn, points, group.colour, f"pictures-{number}", "o", 13)
        for kind, colour in BANK_COLOURS.items():
            own = [
                place
                for text, place in zip(document.texts, one.texts, strict=True)
                if text.kind == kind and place is not None
            ]
            _points(drawn, own, colour, kind, "^" if kind == "ens" else "s", 16)
        _points(drawn, list(one.classes), "ink", "classes", "D", 22)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.03)
    return _done(drawn)


def _points(
    drawn: Drawing, points: Sequence[tuple[float, float]], colour: str, layer: str, marker: str, size: float
) -> None:
    if not points:
        return
    if len(points) > MOST_POINTS:
        points = [points[i * len(points) // MOST_POINTS] for i in range(MOST_POINTS)]
    x, y = zip(*points, strict=True)
    filled = COLOURS[colour] if marker != "D" else COLOURS["paper"]
    edge = COLOURS[colour] if marker == "D" else "none"
    # one path for all points of a layer: one element a point would be most of the file
    drawn.axes.scatter(
        x, y, s=size, marker=marker, color=filled, edgecolors=edge, linewidths=1.2, alpha=0.75, gid=f"{LAYER}{layer}"
    )


def _stream(batches: Sequence[BatchRecord]) -> dict[str, Figure]:
    numbers = [one.batch for one in batches]
    lines: dict[str, Mapping[str, Sequence[float | None]]] = {
        "threshold": {"foreign": [one.threshold for one in batches]},
        "lambda": {"known": [one.weight for one in batches]},
        "banks": {"set-1": [one.ens_texts for one in batches], "set-3": [one.vsnl_texts for one in batches]},
        "share": {"foreign": [100 * one.foreign / one.pictures if one.pictures else None for one in batches]},
        "latency": {"known": [one.latency for one in batches], "muted": [one.latency_most for one in batches]},
        "concurrency": {"set-2": [one.concurrency for one in batches]},
    }
    labels = {
        "threshold": "threshold", "lambda": "lambda", "banks": "texts", "share": "% called unknown",
        "latency": "seconds a call", "concurrency": "calls at once",
    }  # fmt: skip
    found = {}
    for name, own in lines.items():
        if any(value is not None for values in own.values() for value in values):
            found[f"stream-{name}"] = _line(f"stream-{name}", numbers, own, labels[name])
    return found


def _line(
    name: str, numbers: Sequence[float], lines: Mapping[str, Sequence[float | None]], label: str, x: str = "batch"
) -> Figure:
    with drawing(name, 400, 190) as drawn:
        axes = drawn.axes
        for number, (colour, values) in enumerate(lines.items()):
            y = [math.nan if value is None else value for value in values]
            marker = "o" if len(numbers) <= 40 else None
            axes.plot(
                numbers,
                y,
                color=COLOURS[colour],
                linestyle=_dashes(DASHES[number]),
                linewidth=2,
                marker=marker,
                markersize=3.5,
            )
        if label != "threshold":
            axes.set_ylim(bottom=0)
        if label == "lambda":
            axes.set_ylim(0, 1)
        axes.set_xlabel(x)
        axes.set_ylabel(label)
        if x == "batch":
            _whole(drawn, axis="x")
        if label in ("texts", "calls at once", "with the MLLM"):
            _whole(drawn)
    return _done(drawn)


def _requests(requests: Requests) -> dict[str, Figure]:
    found = {}
    if requests.seconds:
        with drawing("request-latency", 400, 190) as drawn:
            counts, edges = np.histogram(requests.seconds, min(BINS, max(8, len(requests.seconds) // 4)))
            drawn.axes.stairs(counts, edges, fill=True, color=COLOURS["known"], alpha=0.3)
            drawn.axes.stairs(counts, edges, color=COLOURS["known"], linewidth=1.6)
            drawn.axes.set_xlabel("seconds from submission to answer, waiting included")
            drawn.axes.set_ylabel("requests")
            _whole(drawn)
        found["request-latency"] = _done(drawn)
        found["request-rate"] = _rate(requests.ended)
    if len(requests.load) > 1:
        at = [moment for moment, _, _ in requests.load]
        lines: dict[str, list[float | None]] = {
            "set-2": [now for _, now, _ in requests.load],
            "muted": [limit for _, _, limit in requests.load],
        }
        found["request-load"] = _line("request-load", at, lines, "with the MLLM", "seconds from the start")
    return found


def _rate(ended: Sequence[float]) -> Figure:
    edges = np.linspace(0, max(ended) or 1.0, min(24, max(4, len(ended) // 5)) + 1)
    counts, _ = np.histogram(ended, edges)
    rates = [count / (after - before) for count, (before, after) in zip(counts, pairwise(edges), strict=True)]
    with drawing("request-rate", 400, 190) as drawn:
        drawn.axes.stairs(rates, edges, fill=True, color=COLOURS["set-3"], alpha=0.3)
        drawn.axes.stairs(rates, edges, color=COLOURS["set-3"], linewidth=1.6)
        drawn.axes.set_xlabel("seconds from the start")
        drawn.axes.set_ylabel("answers a second")
    return _done(drawn)


def _whole(drawn: Drawing, axis: str = "y") -> None:
    """Label whole numbers only: there is no half picture."""
    from matplotlib.ticker import MaxNLocator

    own = drawn.axes.yaxis if axis == "y" else drawn.axes.xaxis
    own.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def _done(drawn: Drawing) -> Figure:
    if drawn.done is None:
        raise ValueError("the drawing is not finished")
    return drawn.done
