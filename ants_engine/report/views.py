"""What the first page of each list shows before any script has run; the script makes the rest to the same pattern."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ants_engine.datasets.benchmark import ID_SET
from ants_engine.report.document import SCORE_NAMES, Column, Document, Pictures, ScoreName, Text
from ants_engine.report.groups import Group, groups_of

STRIP = 20
CARDS, ROWS = 24, 20
"""Pictures and texts of one page."""
KINDS = {"ens": "sentence", "vsnl": "look-alike", "neglabel": "lexicon word"}


@dataclass(frozen=True, slots=True)
class WeighedView:
    """One text that lowered a picture's score."""

    kind: str
    text: str
    amount: str


@dataclass(frozen=True, slots=True)
class Card:
    """One picture of the gallery."""

    name: str
    short: str
    thumbnail: str | None
    verdict: str
    predicted: str
    score: str
    place: float
    """Where the score lies on a scale from 0 to 100."""
    line: float
    """Where the threshold lies."""
    truth: str
    outcome: str
    parts: str
    weighed: tuple[WeighedView, ...]


@dataclass(frozen=True, slots=True)
class CountRow:
    """How many pictures of a group lie on either side of a threshold."""

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
    """False and true positive rate in both conventions."""

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


def same_float(value: float) -> np.float32:
    """Round as scores are: a threshold is compared with them in float32."""
    return np.float32(value)


def below(values: Sequence[float], threshold: float) -> int:
    """Count the scores below a threshold, compared as `same_float` says."""
    return int(np.count_nonzero(np.array(values, np.float32) < same_float(threshold)))


def starts_of(document: Document) -> tuple[Start, ...]:
    """Return where each score's threshold starts.

    ``id_score`` starts at the detector's. A part of it has none of its own, and starts where it calls as many pictures
    unknown.
    """
    pictures = document.pictures
    if pictures is None or document.threshold is None:
        return ()
    own = [value for value in pictures.id_score if value is not None]
    groups = groups_of(pictures)
    unknown = below(own, document.threshold)
    found = []
    for name in SCORE_NAMES:
        threshold = document.threshold
        if name != "id_score":
            ordered = sorted(value for value in pictures.column(name) if value is not None)
            threshold = ordered[min(unknown, len(ordered) - 1)] if ordered else threshold
        counts = _counts(groups, pictures.column(name), threshold)
        found.append(Start(name, threshold, counts, _rates(counts)))
    return tuple(found)


def _counts(groups: Sequence[Group], column: Column, threshold: float) -> tuple[CountRow, ...]:
    rows = []
    for group in groups:
        values = [value for row in group.rows if (value := column[row]) is not None]
        unknown = below(values, threshold)
        rows.append(CountRow(group, len(values) - unknown, unknown))
    return tuple(rows)


def _rates(counts: Sequence[CountRow]) -> Rates | None:
    ids = [one for one in counts if one.group.name == ID_SET]
    oods = [one for one in counts if one.group.name not in (ID_SET, "")]
    known = sum(one.known + one.unknown for one in ids)
    unknown = sum(one.known + one.unknown for one in oods)
    if not known or not unknown:
        return None
    return Rates(sum(one.unknown for one in oods) / unknown, sum(one.unknown for one in ids) / known)


def cards_of(document: Document) -> tuple[Card, ...]:
    """Return the first page of the gallery."""
    pictures = document.pictures
    if pictures is None:
        return ()
    return tuple(_card(document, pictures, row) for row in range(min(CARDS, len(pictures))))


def _card(document: Document, pictures: Pictures, row: int) -> Card:
    score, predicted = pictures.id_score[row], pictures.predicted[row]
    if score is None:
        verdict = "unreadable"
    else:
        verdict = "unknown" if same_float(score) < same_float(document.threshold or 0.0) else "known"
    weighed = tuple(
        WeighedView(KINDS[(text := document.texts[one.text]).kind], text.text, f"−{one.amount:.3f}")
        for one in pictures.weighed[row]
    )
    columns = (("S_ens", pictures.ens_score), ("S_vsnl", pictures.vsnl_score), ("S_nl", pictures.neglabel_score))
    parts = ", ".join(f"{name} {value:.3f}" for name, column in columns if (value := column[row]) is not None)
    name = pictures.names[row]
    return Card(
        name=name,
        short=end_of(name),
        thumbnail=pictures.thumbnails[row],
        verdict=verdict,
        predicted=document.classes[predicted] if predicted >= 0 else "",
        score="–" if score is None else f"{score:.3f}",
        place=0.0 if score is None else round(98 * score, 1),
        line=round(100 * min(1.0, max(0.0, document.threshold or 0.0)), 1),
        truth=truth_of(document, pictures, row),
        outcome=_outcome(pictures, row, verdict),
        parts=parts or pictures.errors[row] or "",
        weighed=weighed,
    )


@dataclass(frozen=True, slots=True)
class StripItem:
    """One picture of the strip from the most unknown to the most known."""

    row: int
    card: Card


def strip_of(document: Document) -> tuple[StripItem, ...]:
    """Return pictures evenly spaced through the scores, lowest first; none without thumbnails."""
    pictures = document.pictures
    if pictures is None:
        return ()
    rows = [row for row, one in enumerate(pictures.thumbnails) if one and pictures.id_score[row] is not None]
    rows.sort(key=lambda row: (pictures.id_score[row], row))
    if len(rows) > STRIP:
        rows = [rows[round(i * (len(rows) - 1) / (STRIP - 1))] for i in range(STRIP)]
    return tuple(StripItem(row, _card(document, pictures, row)) for row in rows)


def end_of(name: str) -> str:
    """Return the last two parts of a path: in folders of classes the last one alone says little."""
    parts = [part for part in name.split("/") if part]
    return "/".join(parts[-2:]) or name


def truth_of(document: Document, pictures: Pictures, row: int) -> str:
    """Say what the labels say of a picture."""
    name = None if pictures.sets is None else pictures.sets[row]
    if name is None:
        return ""
    label = None if pictures.labels is None else pictures.labels[row]
    if name == ID_SET:
        return "known" if label is None else document.classes[label]
    return "unknown" if name == "ood" else f"{name}-OOD"


def _outcome(pictures: Pictures, row: int, verdict: str) -> str:
    name = None if pictures.sets is None else pictures.sets[row]
    if name is None or verdict == "unreadable":
        return ""
    if name != ID_SET:
        return "right" if verdict == "unknown" else "missed"
    if verdict == "unknown":
        return "false alarm"
    label = None if pictures.labels is None else pictures.labels[row]
    return "right" if label is None or label == pictures.predicted[row] else "wrong class"


@dataclass(frozen=True, slots=True)
class ClassView:
    """An ID class with its look-alikes."""

    name: str
    texts: tuple[Text, ...]


def sentences_of(document: Document) -> tuple[Text, ...]:
    """Return the sentences, those that moved most first, as the page lists them at first."""
    own = [text for text in document.texts if text.kind == "ens"]
    return tuple(sorted(own, key=lambda text: -(text.moved or 0.0)))


def classes_of(document: Document) -> tuple[ClassView, ...]:
    """Return the classes that have look-alikes, in the order of the classes."""
    found: dict[str, list[Text]] = {}
    for text in document.texts:
        if text.kind == "vsnl":
            found.setdefault(text.source, []).append(text)
    order = {name: row for row, name in enumerate(document.classes)}
    return tuple(
        ClassView(name, tuple(found[name])) for name in sorted(found, key=lambda name: order.get(name, len(order)))
    )
