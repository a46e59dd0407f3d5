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
    Document,
    Group,
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
        ("ink", "muted", "grid", "known", "foreign", "set-1", "set-2", "set-3", "set-4", "accent", "paper"), 16
    )
}
"""Colours of the page by name, as matplotlib is told them; in the SVG each is ``var(--name)``."""
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
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "text.parse_math": False,
    "path.simplify": True,
}
LAYER = "layer-"
"""What is drawn with a ``gid`` that begins so can be shown and hidden."""
WIDTH, HEIGHT = 400, 230
"""Units of a figure; on a phone one is about a pixel."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG with where its axes lie, so that a script can place things over it."""

    svg: str
    """Markup, without anything that runs."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the axes, as shares of the figure's width and height."""
    x: tuple[float, float]
    y: tuple[float, float]
    """What the axes' ends stand for."""


class Drawing:
    """One figure while it is drawn: `axes` is matplotlib's, `finish` gives the SVG."""

    def __init__(self, figure: Any, axes: "Axes", name: str) -> None:
        self.axes = axes
        self._figure = figure
        self._name = name
        self.done: Figure | None = None

    def finish(self) -> None:
        """Turn what was drawn into a `Figure`."""
        stream = io.StringIO()
        self._figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        place = self.axes.get_position()
        self.done = Figure(
            svg=_themed(stream.getvalue(), self._name),
            box=(_share(place.x0), _share(1 - place.y1), _share(place.x1), _share(1 - place.y0)),
            x=_pair(self.axes.get_xlim()),
            y=_pair(self.axes.get_ylim()),
        )


@contextmanager
def drawing(name: str, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Drawing]:
    """Yield a drawing, and finish it.

    Args:
        name: makes its ids differ from those of other figures on the page.
        width: in units.
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
        drawn = Drawing(figure, figure.add_subplot(), name)
        yield drawn
        drawn.finish()


def _share(value: float) -> float:
    return round(float(value), 5)


def _pair(ends: tuple[float, float]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])


def _themed(markup: str, name: str) -> str:
    """Keep the drawing alone: no declarations, no style attributes, ids of its own, the page's colours."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(markup)  # noqa: S314 - what matplotlib has just written
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
    # beside the figure stands what it says, as text
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return _SPACE.sub("><", ET.tostring(root, encoding="unicode"))


_URL = re.compile(r"url\(#([\w-]+)\)")
_SPACE = re.compile(r">\s+<")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_NUMBERS = frozenset({"d", "x", "y", "width", "height", "transform"})


def _short(number: re.Match[str]) -> str:
    """Round to hundredths of a unit: finer is not seen."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _restyle(element: ET.Element) -> None:
    """Write a style as attributes: a page that forbids inline styles would drop it."""
    for key, value in _declarations(element.attrib.pop("style", "")).items():
        if key not in ("font", "font-family", "font-weight", "font-stretch", "font-style", "font-variant"):
            element.set(key, value.removesuffix("px") if key == "font-size" else value)
        if key == "font":
            element.set("font-size", value.split("px")[0].split()[-1])


def _declarations(style: str) -> Mapping[str, str]:
    parts = (part.partition(":") for part in style.split(";") if ":" in part)
    return {key.strip(): value.strip() for key, _, value in parts}


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


def _distributions(pictures: ReportPictures, threshold: float | None) -> dict[str, Figure]:
    groups = groups_of(pictures)
    names: tuple[ScoreName, ...] = ("id_score", "ens_score", "vsnl_score", "neglabel_score")
    return {name: _distribution(pictures, groups, name, threshold) for name in names}


def _distribution(
    pictures: ReportPictures, groups: Sequence[Group], name: ScoreName, threshold: float | None
) -> Figure:
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


def _roc(comparison: MethodComparison) -> Figure:
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
