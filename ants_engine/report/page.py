"""A report's document as one file of HTML that loads nothing and sends nothing."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ants_engine.common.atomic_file import write_whole
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.errors import MissingDependencyError, UsageError
from ants_engine.report.document import SCORE_NAMES, Column, Document, Group, ReportPictures, ScoreName, Text, groups_of
from ants_engine.report.figures import curve_look, figures_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

STRIP = 20
"""Pictures in the strip from the most unknown to the most known."""
CARDS, ROWS = 24, 20
"""Pictures and texts on one page of their lists."""
KINDS = {"ens": "sentence", "vsnl": "look-alike", "neglabel": "lexicon word"}
TEMPLATE = "report.html.jinja"
SHOWN_BATCHES = 50


def render_page(document: Document) -> str:
    """Return the page of a document.

    Raises:
        MissingDependencyError: jinja2 or matplotlib is not installed.
    """
    environment = _environment()
    figures = figures_of(document)
    script, style = _asset("report.js"), _asset("report.css")
    methods = 0 if document.comparison is None else len(document.comparison.methods)
    starts, groups = _starts(document), () if document.pictures is None else groups_of(document.pictures)
    return environment.get_template(TEMPLATE).render(
        doc=document,
        figures={name: _markup(figure.svg) for name, figure in figures.items()},
        starts=starts,
        groups=groups,
        cards=_cards(document),
        strip=_strip(document),
        end_of=_end_of,
        sentences=_sentences(document),
        classes=_look_alikes(document),
        curves=[curve_look(number) for number in range(methods)],
        kinds=KINDS,
        page_rows=ROWS,
        shown_batches=SHOWN_BATCHES,
        style=_markup(style),
        script=_markup(script),
        policy=_policy(script, style),
        data=json.loads(document.model_dump_json()),
        frame={
            "page": CARDS,
            "rows": ROWS,
            "figures": {name: {"box": one.box, "x": one.x, "y": one.y} for name, one in figures.items()},
            "groups": [[one.name, one.shown, one.colour] for one in groups],
            "starts": {one.name: one.threshold for one in starts},
            "kinds": KINDS,
        },
    )


def _policy(script: str, style: str) -> str:
    """Allow this script, this style and embedded pictures, and nothing else."""
    own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{own[0]}'; style-src 'sha256-{own[1]}'; "
        "img-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


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

    # figures, style and script hold no text of a user
    return Markup(text)  # noqa: S704


def write_page(path: Path, document: Document) -> Path:
    """Write the page in one step: an older file is replaced once this one is complete.

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


# ---- the first page of each list, before any script has run; the script makes the rest to the same pattern ----


@dataclass(frozen=True, slots=True)
class WeighedView:
    """One text that lowered a picture's score."""

    kind: str
    text: str
    amount: str


@dataclass(frozen=True, slots=True)
class Card:
    """One picture of the gallery or the strip."""

    row: int
    name: str
    short: str
    thumbnail: str | None
    verdict: str
    predicted: str
    score: str
    place: float
    """The score on a scale from 0 to 100."""
    line: float
    """The threshold on that scale."""
    truth: str
    outcome: str
    parts: str
    weighed: tuple[WeighedView, ...]


@dataclass(frozen=True, slots=True)
class CountRow:
    """Pictures of a group on either side of a threshold."""

    group: Group
    known: int
    unknown: int

    @property
    def share(self) -> str:
        """Return the share that is called unknown."""
        total = self.known + self.unknown
        return f"{100 * self.unknown / total:.1f} %" if total else "–"


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares in [0, 1] over all groups with labels."""

    caught: float
    """Unknown pictures called unknown."""
    alarms: float
    """Known pictures called unknown."""


@dataclass(frozen=True, slots=True)
class Start:
    """A score with the threshold that its figure starts at."""

    name: ScoreName
    threshold: float
    counts: tuple[CountRow, ...]
    rates: Rates | None


def _starts(document: Document) -> tuple[Start, ...]:
    """Return where each score's threshold starts.

    ``id_score`` starts at the detector's. Its parts have no threshold of their own: each starts where it calls as many
    pictures unknown.
    """
    pictures = document.pictures
    if pictures is None or document.threshold is None:
        return ()
    groups = groups_of(pictures)
    unknown = _below([value for value in pictures.id_score if value is not None], document.threshold)
    found = []
    for name in SCORE_NAMES:
        threshold = document.threshold
        if name != "id_score":
            ordered = sorted(value for value in pictures.column(name) if value is not None)
            threshold = ordered[min(unknown, len(ordered) - 1)] if ordered else threshold
        counts = tuple(_count(group, pictures.column(name), threshold) for group in groups)
        found.append(Start(name, threshold, counts, _rates(counts)))
    return tuple(found)


def _below(values: Sequence[float], threshold: float) -> int:
    """Count the scores below a threshold, compared in float32 as scores are."""
    return int(np.count_nonzero(np.array(values, np.float32) < np.float32(threshold)))


def _count(group: Group, column: Column, threshold: float) -> CountRow:
    values = [value for row in group.rows if (value := column[row]) is not None]
    unknown = _below(values, threshold)
    return CountRow(group, len(values) - unknown, unknown)


def _rates(counts: Sequence[CountRow]) -> Rates | None:
    ids = [one for one in counts if one.group.name == ID_SET]
    oods = [one for one in counts if one.group.name not in (ID_SET, "")]
    known = sum(one.known + one.unknown for one in ids)
    unknown = sum(one.known + one.unknown for one in oods)
    if not known or not unknown:
        return None
    return Rates(sum(one.unknown for one in oods) / unknown, sum(one.unknown for one in ids) / known)


def _cards(document: Document) -> list[Card]:
    """Return the first page of the gallery."""
    pictures = document.pictures
    return [] if pictures is None else [_card(document, pictures, row) for row in range(min(CARDS, len(pictures)))]


def _strip(document: Document) -> list[Card]:
    """Return pictures evenly spaced through the scores, lowest first; none without thumbnails."""
    pictures = document.pictures
    if pictures is None:
        return []
    rows = [row for row, one in enumerate(pictures.thumbnails) if one and pictures.id_score[row] is not None]
    rows.sort(key=lambda row: (pictures.id_score[row], row))
    if len(rows) > STRIP:
        rows = [rows[round(i * (len(rows) - 1) / (STRIP - 1))] for i in range(STRIP)]
    return [_card(document, pictures, row) for row in rows]


def _card(document: Document, pictures: ReportPictures, row: int) -> Card:
    score, predicted, threshold = pictures.id_score[row], pictures.predicted[row], document.threshold or 0.0
    verdict = "unreadable" if score is None else "unknown" if _below([score], threshold) else "known"
    weighed = tuple(
        WeighedView(KINDS[(text := document.texts[one.text]).kind], text.text, f"−{one.amount:.3f}")
        for one in pictures.weighed[row]
    )
    columns = (("S_ens", pictures.ens_score), ("S_vsnl", pictures.vsnl_score), ("S_nl", pictures.neglabel_score))
    parts = ", ".join(f"{name} {value:.3f}" for name, column in columns if (value := column[row]) is not None)
    name = pictures.names[row]
    return Card(
        row=row,
        name=name,
        short=_end_of(name),
        thumbnail=pictures.thumbnails[row],
        verdict=verdict,
        predicted=document.classes[predicted] if predicted >= 0 else "",
        score="–" if score is None else f"{score:.3f}",
        place=0.0 if score is None else round(98 * score, 1),
        line=round(100 * min(1.0, max(0.0, threshold)), 1),
        truth=_truth(document, pictures, row),
        outcome=_outcome(pictures, row, verdict),
        parts=parts or pictures.errors[row] or "",
        weighed=weighed,
    )


def _end_of(name: str) -> str:
    """Return the last two parts of a path: in folders of classes the last one alone says little."""
    parts = [part for part in name.split("/") if part]
    return "/".join(parts[-2:]) or name


def _truth(document: Document, pictures: ReportPictures, row: int) -> str:
    """Return a picture's label in words; empty without one."""
    name = None if pictures.sets is None else pictures.sets[row]
    if name is None:
        return ""
    label = None if pictures.labels is None else pictures.labels[row]
    if name == ID_SET:
        return "known" if label is None else document.classes[label]
    return "unknown" if name == "ood" else f"{name}-OOD"


def _outcome(pictures: ReportPictures, row: int, verdict: str) -> str:
    name = None if pictures.sets is None else pictures.sets[row]
    if name is None or verdict == "unreadable":
        return ""
    if name != ID_SET:
        return "right" if verdict == "unknown" else "missed"
    if verdict == "unknown":
        return "false alarm"
    label = None if pictures.labels is None else pictures.labels[row]
    return "right" if label is None or label == pictures.predicted[row] else "wrong class"


def _sentences(document: Document) -> list[Text]:
    """Return the sentences, those that lowered scores most first, as the page lists them at first."""
    own = [text for text in document.texts if text.kind == "ens"]
    return sorted(own, key=lambda text: -(text.moved or 0.0))


def _look_alikes(document: Document) -> list[tuple[str, list[Text]]]:
    """Return the classes that have look-alikes with these, in the order of the classes."""
    found: dict[str, list[Text]] = {}
    for text in document.texts:
        if text.kind == "vsnl":
            found.setdefault(text.source, []).append(text)
    order = {name: row for row, name in enumerate(document.classes)}
    return sorted(found.items(), key=lambda one: order.get(one[0], len(order)))
