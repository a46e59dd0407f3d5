"""Figures as SVG that takes its colours from the page, so that light, dark and print are one file."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ants_engine.errors import MissingDependencyError

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
