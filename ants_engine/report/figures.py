"""The figures of a report as SVG that takes its colours from the page; a script only places a threshold over them."""

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ants_engine.errors import MissingDependencyError
from ants_engine.learning.report import BatchRecord
from ants_engine.report.document import (
    SCORE_NAMES,
    Document,
    Map,
    MethodComparison,
    ReportPictures,
    Requests,
    ScoreName,
    groups_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
COLOURS = {
    name: f"#0000{number:02x}"
    for number, name in enumerate(
        ("ink", "muted", "grid", "known", "unknown", "set-1", "set-2", "set-3", "set-4", "accent", "paper"), 16
    )
}
"""The page's colours by name, as matplotlib gets them; in the SVG each is ``var(--name)``."""
_NAMES = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ants",
    "font.size": 10.5,
    "font.family": ["sans-serif"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 10.5,
    "axes.linewidth": 1.0,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    **{f"{axis}tick.{key}": COLOURS["muted"] for axis in "xy" for key in ("color", "labelcolor")},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    "figure.facecolor": "none",
    "text.parse_math": False,
    "path.simplify": True,
}
LAYER = "layer-"
"""Prefix of the ``gid`` of what can be shown and hidden."""
_URL = re.compile(r"url\(#([\w-]+)\)")
_SPACE = re.compile(r">\s+<")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_NUMBERS = frozenset({"d", "x", "y", "width", "height", "transform"})
BINS = 48
BANK_COLOURS = {"ens": "set-4", "vsnl": "set-3", "neglabel": "muted"}
CURVE_COLOURS = ("unknown", "set-2", "set-3", "set-4", "known", "accent", "muted", "ink")
DASHES = ("", "5 2", "1.2 1.6", "7 2 1.2 2")
MOST_POINTS = 6000
"""Points of one layer of a map that are drawn at most."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG with the place of its axes, so that a script can draw over it."""

    svg: str
    """Markup without anything that runs."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the axes, as shares of the figure's width and height."""
    x: tuple[float, float]
    y: tuple[float, float]
    """Values at the ends of the axes."""


def figures_of(document: Document) -> dict[str, Figure]:
    """Draw every figure that the document has data for.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    found: dict[str, Figure] = {}
    pictures = document.pictures
    if pictures is not None and any(value is not None for value in pictures.id_score):
        for name in SCORE_NAMES:
            _distribution(found, pictures, name, document.threshold if name == "id_score" else None)
    if document.comparison is not None:
        _roc(found, document.comparison)
    for one in document.maps:
        _map(found, one, document)
    if document.batches:
        _stream(found, document.batches)
    if document.requests is not None:
        _requests(found, document.requests)
    return found


def _distribution(found: dict[str, Figure], pictures: ReportPictures, name: ScoreName, threshold: float | None) -> None:
    column = pictures.column(name)
    shown = [value for value in (*column, threshold) if value is not None]
    low, high = min(shown), max(shown)
    margin = max((high - low) * 0.04, 0.005)
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    edges = np.linspace(low, high, BINS + 1)
    with drawing(found, name, *((400, 230) if name == "id_score" else (310, 200))) as axes:
        for group in groups_of(pictures):
            counts, _ = np.histogram([value for row in group.rows if (value := column[row]) is not None], edges)
            _steps(axes, counts, edges, group.colour, 0.2)
        if threshold is not None:
            axes.axvline(threshold, color=COLOURS["ink"], linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlim(low, high)
        axes.set_xlabel("← more unknown   ·   more known →")
        axes.set_ylabel("pictures")
        _whole(axes.yaxis)


def _steps(axes: "Axes", values: Any, edges: Any, colour: str, alpha: float) -> None:
    axes.stairs(values, edges, fill=True, color=COLOURS[colour], alpha=alpha)
    axes.stairs(values, edges, color=COLOURS[colour], linewidth=1.6)


def _roc(found: dict[str, Figure], comparison: MethodComparison) -> None:
    with drawing(found, "roc", 400, 330) as axes:
        axes.plot([0, 1], [0, 1], color=COLOURS["grid"], linewidth=1)
        for number, method in enumerate(comparison.methods):
            x, y = zip(*method.roc, strict=True)
            colour, dash = curve_look(number)
            axes.plot(x, y, color=COLOURS[colour], linestyle=_dashes(dash), linewidth=2.4 if method.ours else 1.4)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.005)
        ood_is_positive = comparison.convention == "openood"
        axes.set_xlabel(f"FPR: {'known pictures called un' if ood_is_positive else 'unknown pictures called '}known")
        axes.set_ylabel("TPR: unknown ones caught" if ood_is_positive else "TPR: known ones kept")


def curve_look(number: int) -> tuple[str, str]:
    """Return a curve's colour by name and its dashes as SVG writes them, a different pair for each curve."""
    turns, place = divmod(number, len(CURVE_COLOURS))
    return CURVE_COLOURS[place], DASHES[(place + turns) % len(DASHES)]


def _dashes(dash: str) -> Any:
    return (0, tuple(map(float, dash.split()))) if dash else "-"


def _map(found: dict[str, Figure], one: Map, document: Document) -> None:
    with drawing(found, f"map-{one.method}", 560, 440) as axes:
        if document.pictures is not None:
            for number, group in enumerate(groups_of(document.pictures)):
                _points(axes, [one.pictures[row] for row in group.rows], group.colour, f"pictures-{number}", "o", 13)
        for kind, colour in BANK_COLOURS.items():
            own = [place for text, place in zip(document.texts, one.texts, strict=True) if text.kind == kind]
            _points(axes, own, colour, kind, "^" if kind == "ens" else "s", 16)
        _points(axes, one.classes, "ink", "classes", "D", 22)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.03)


def _points(
    axes: "Axes", places: Sequence[tuple[float, float] | None], colour: str, layer: str, marker: str, size: float
) -> None:
    points = [place for place in places if place is not None]
    if not points:
        return
    if len(points) > MOST_POINTS:
        points = [points[i * len(points) // MOST_POINTS] for i in range(MOST_POINTS)]
    x, y = zip(*points, strict=True)
    filled = COLOURS[colour] if marker != "D" else COLOURS["paper"]
    edge = COLOURS[colour] if marker == "D" else "none"
    # one path for all points of a layer: an element per point would be most of the file
    axes.scatter(
        x, y, s=size, marker=marker, color=filled, edgecolors=edge, linewidths=1.2, alpha=0.75, gid=f"{LAYER}{layer}"
    )


def _stream(found: dict[str, Figure], batches: Sequence[BatchRecord]) -> None:
    numbers = [one.batch for one in batches]
    lines: dict[str, tuple[str, dict[str, Sequence[float | None]]]] = {
        "threshold": ("threshold", {"unknown": [one.threshold for one in batches]}),
        "lambda": ("lambda", {"known": [one.weight for one in batches]}),
        "banks": ("texts", {"set-1": [one.ens_texts for one in batches], "set-3": [one.vsnl_texts for one in batches]}),
        "share": (
            "% called unknown",
            {"unknown": [100 * one.foreign / one.pictures if one.pictures else None for one in batches]},
        ),
        "latency": (
            "seconds a call",
            {"known": [one.latency for one in batches], "muted": [one.latency_most for one in batches]},
        ),
        "concurrency": ("calls at once", {"set-2": [one.concurrency for one in batches]}),
    }
    for name, (label, own) in lines.items():
        if any(value is not None for values in own.values() for value in values):
            _line(found, f"stream-{name}", numbers, own, label)


def _line(
    found: dict[str, Figure],
    name: str,
    at: Sequence[float],
    lines: Mapping[str, Sequence[float | None]],
    label: str,
    x: str = "batch",
) -> None:
    with drawing(found, name) as axes:
        marker = "o" if len(at) <= 40 else None
        for number, (colour, values) in enumerate(lines.items()):
            y = [math.nan if value is None else value for value in values]
            look = {"color": COLOURS[colour], "linestyle": _dashes(DASHES[number]), "marker": marker}
            axes.plot(at, y, linewidth=2, markersize=3.5, **look)
        if label != "threshold":
            axes.set_ylim(bottom=0)
        if label == "lambda":
            axes.set_ylim(0, 1)
        axes.set_xlabel(x)
        axes.set_ylabel(label)
        if x == "batch":
            _whole(axes.xaxis)
        if label in ("texts", "calls at once", "with the MLLM"):
            _whole(axes.yaxis)


def _requests(found: dict[str, Figure], requests: Requests) -> None:
    if requests.seconds:
        with drawing(found, "request-latency") as axes:
            counts, edges = np.histogram(requests.seconds, min(BINS, max(8, len(requests.seconds) // 4)))
            _steps(axes, counts, edges, "known", 0.3)
            axes.set_xlabel("seconds from submission to answer, waiting included")
            axes.set_ylabel("requests")
            _whole(axes.yaxis)
        ended = requests.ended
        edges = np.linspace(0, max(ended) or 1.0, min(24, max(4, len(ended) // 5)) + 1)
        counts, _ = np.histogram(ended, edges)
        rates = [count / (after - before) for count, (before, after) in zip(counts, pairwise(edges), strict=True)]
        with drawing(found, "request-rate") as axes:
            _steps(axes, rates, edges, "set-3", 0.3)
            axes.set_xlabel("seconds from the start")
            axes.set_ylabel("answers a second")
    if len(requests.load) > 1:
        at, busy, limits = zip(*requests.load, strict=True)
        lines = {"set-2": busy, "muted": limits}
        _line(found, "request-load", at, lines, "with the MLLM", "seconds from the start")


def _whole(axis: Any) -> None:
    """Label whole numbers only: there is no half picture."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


@contextmanager
def drawing(found: dict[str, Figure], name: str, width: int = 400, height: int = 190) -> Iterator["Axes"]:
    """Yield matplotlib's axes; what is drawn on them becomes ``found[name]``.

    Args:
        found: the figures of the page.
        name: tells its ids from those of other figures on the page.
        width: in units; on a phone one is about a pixel.
        height: in units.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise MissingDependencyError('a report needs matplotlib: pip install "ants-engine[report]"') from None
    with mpl.rc_context(_STYLE):
        figure = Canvas(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        yield axes
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        place, x, y = axes.get_position(), axes.get_xlim(), axes.get_ylim()
        left, top, right, bottom = (round(float(at), 5) for at in (place.x0, 1 - place.y1, place.x1, 1 - place.y0))
        found[name] = Figure(
            svg=_themed(stream.getvalue(), name),
            box=(left, top, right, bottom),
            x=(float(x[0]), float(x[1])),
            y=(float(y[0]), float(y[1])),
        )


def _themed(markup: str, name: str) -> str:
    """Reduce matplotlib's SVG to the drawing: no declarations or style attributes, own ids, the page's colours."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(markup)  # noqa: S314 - written by matplotlib just now
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    used = {href[1:] for element in root.iter() if (href := element.get(_XLINK, "")).startswith("#")}
    used |= {found for element in root.iter() for value in element.attrib.values() for found in _URL.findall(value)}
    for element in root.iter():
        _restyle(element)
        layer = element.get("id", "")
        if layer.startswith(LAYER):
            element.set("data-layer", layer.removeprefix(LAYER))
        if element.get("id") in used:
            element.set("id", f"{name}-{element.get('id')}")
        else:
            element.attrib.pop("id", None)
        href = element.attrib.pop(_XLINK, "")
        if href:
            element.set("href", f"#{name}-{href[1:]}")
        for key, value in element.attrib.items():
            known = _NAMES.get(value) or _URL.sub(rf"url(#{name}-\1)", value)
            element.set(key, _LONG.sub(_short, known) if key in _NUMBERS else known)
        if element.get("transform", "").startswith("rotate(-0 "):
            element.attrib.pop("transform")
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    # the page has the same numbers as text
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return _SPACE.sub("><", ET.tostring(root, encoding="unicode"))


def _short(number: re.Match[str]) -> str:
    """Round to hundredths of a unit, which is finer than a pixel."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _restyle(element: ET.Element) -> None:
    """Write a style as attributes: a page that forbids inline styles would drop it."""
    parts = (part.partition(":") for part in element.attrib.pop("style", "").split(";") if ":" in part)
    for key, value in ((key.strip(), value.strip()) for key, _, value in parts):
        if key not in ("font", "font-family", "font-weight", "font-stretch", "font-style", "font-variant"):
            element.set(key, value.removesuffix("px") if key == "font-size" else value)
        if key == "font":
            element.set("font-size", value.split("px")[0].split()[-1])
