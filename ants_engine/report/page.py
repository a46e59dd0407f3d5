"""Turns a report's document into one file of HTML that loads nothing and sends nothing."""

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ants_engine.errors import MissingDependencyError
from ants_engine.report.document import Document
from ants_engine.report.figures import curve_look, figures_of
from ants_engine.report.groups import groups_of
from ants_engine.report.views import CARDS, KINDS, ROWS, cards_of, classes_of, end_of, sentences_of, starts_of, strip_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATE = "report.html.jinja"
SHOWN_BATCHES = 50


def render_page(document: Document) -> str:
    """Return the page.

    Args:
        document: what it shows.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = _environment()
    figures = figures_of(document)
    script, style = _asset("report.js"), _asset("report.css")
    pictures = document.pictures
    methods = 0 if document.comparison is None else len(document.comparison.methods)
    starts, groups = starts_of(document), () if pictures is None else groups_of(pictures)
    return environment.get_template(TEMPLATE).render(
        doc=document,
        figures={name: _markup(figure.svg) for name, figure in figures.items()},
        starts=starts,
        groups=groups,
        cards=cards_of(document),
        strip=strip_of(document),
        end_of=end_of,
        sentences=sentences_of(document),
        classes=classes_of(document),
        curves=[curve_look(number) for number in range(methods)],
        kinds=KINDS,
        page_rows=ROWS,
        shown_batches=SHOWN_BATCHES,
        style=_markup(style),
        script=_markup(script),
        policy=_policy(script, style),
        data=data_of(document),
        frame={
            "page": CARDS,
            "rows": ROWS,
            "figures": {name: {"box": one.box, "x": one.x, "y": one.y} for name, one in figures.items()},
            "groups": [[one.name, one.shown, one.colour] for one in groups],
            "starts": {one.name: one.threshold for one in starts},
            "kinds": KINDS,
        },
    )


def data_of(document: Document) -> dict[str, Any]:
    """Return the document as the page's script reads it: plain JSON values."""
    plain: dict[str, Any] = json.loads(document.model_dump_json())
    return plain


def _policy(script: str, style: str) -> str:
    """Forbid everything but this very script, this very style, and pictures that lie in the page."""
    return (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        "img-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _asset(name: str) -> str:
    return (files("ants_engine.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MissingDependencyError('a report needs jinja2: pip install "ants-engine[report]"') from None
    return Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _markup(text: str) -> "Markup":
    from markupsafe import Markup

    # ours: the figures, the style and the script hold no text of a user's
    return Markup(text)  # noqa: S704
