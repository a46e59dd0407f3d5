"""Class names out of an MLLM's list of look-alikes (stage 5, VSNL; paper eq. 11)."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ants_engine.method.answer import MAX_CHARACTERS, Rejection, clean, fault, fold_spaces
from ants_engine.method.class_names import ClassNames
from ants_engine.method.list_items import PROSE, list_items

_LEADING_NUMBER = re.compile(r"\s*\d+[-.:)]")

_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.){1,80})"')
_EXPLANATION = re.compile(
    r"\s+[-–—]+\s+|\s*[—:;,(\[|]\s*|\s*[-=]>\s*|\s+(?:which|that|because|due to)\s+"
    r"|(?<!\bSt)(?<!\bMt)(?<!\bDr)(?<!\bMr)[.!?](?:\s|$)"
)
_FIELD = re.compile(
    r"^(?:name|label|class|item|answer|object|animal|thing|category|title|species|look-?alike)\s?\d{0,3}\s?[:=]\s*(?=\S)",
    re.IGNORECASE,
)
_BOX = re.compile(r"^\[[ xX]?\]\s?")
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)
_ITEM_ENDS = (re.compile(r"\n"), re.compile(r"[;,]"), re.compile(r"\s(?=\(?\d{1,2}[.):]\s)"))
_SYMBOLS = {"So", "Sk", "Mn", "Me"}
_MAX_LABEL_CHARACTERS = 60
_MAX_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Labels:
    """What a list of names came to."""

    labels: tuple[str, ...]
    """Usable names in the answer's order."""
    rejected: tuple[tuple[str, Rejection], ...] = ()
    """Items that were set aside (cut at 60 characters), and why."""
    rejection: Rejection | None = None
    """Why there is no label at all; ``None`` when there is one."""


def parse_labels(
    text: str,
    limit: int = 5,
    *,
    asked: str | None = None,
    class_names: ClassNames | None = None,
    max_words: int = 6,
) -> Labels:
    """Read a list of names as tolerantly as MLLMs write them.

    Understands a JSON array, numbered and bulleted lines, numbers within a line, comma-separated names and bare lines,
    with or without a preamble, emphasis, quotes, articles and trailing explanations ("wolf - a wild canine",
    "wolf (Canis lupus)"). Of numbered and bulleted lines together the numbered count.

    Args:
        text: the answer as it came; 50 kB cost no more than 4.
        limit: most labels returned, at least 1.
        asked: the class whose look-alikes these are: a label that contains one of its names is a kind of it, and is
            set aside.
        class_names: ID classes: a label that *is* one of them, by any of its names, is set aside ("sea lion" is not
            "lion", and "golden eagle" not "bald eagle", but "eagle" is).
        max_words: a longer label is rambling.

    Raises:
        ValueError: ``limit`` or ``max_words`` below 1.
    """
    if limit < 1 or max_words < 1:
        raise ValueError(f"limit and max_words must be at least 1, not {limit} and {max_words}")
    cleaned = clean(text)
    itemised, items = list_items(cleaned)
    whole = fault(cleaned)
    if whole is Rejection.EMPTY or (whole is not None and not itemised):
        return Labels(labels=(), rejection=whole)
    own = ClassNames([asked]) if asked is not None else None
    labels: list[str] = []
    rejected: list[tuple[str, Rejection]] = []
    seen: set[str] = set()
    echoes = 0
    for item in items[:_MAX_ITEMS]:
        label = _label(item)
        reason = _label_fault(label, max_words)
        if reason is None and own is not None and own.find_alias(label) is not None:
            reason = Rejection.NAMES_ID_CLASS
            echoes += 1
        if reason is None and class_names is not None and class_names.equals(label):
            reason = Rejection.NAMES_ID_CLASS
        if reason is None and label.casefold() in seen:
            reason = Rejection.DUPLICATE
        if reason is not None:
            rejected.append((fold_spaces(item)[:_MAX_LABEL_CHARACTERS], reason))
            continue
        seen.add(label.casefold())
        labels.append(label)
        if len(labels) == limit:
            break
    rejection = None if labels else _why_none([reason for _, reason in rejected], echoes)
    return Labels(labels=tuple(labels), rejected=tuple(rejected), rejection=rejection)


def _why_none(reasons: list[Rejection], echoes: int) -> Rejection:
    """Say why a list gave no label: the reason of most items, and of as many the one that is the MLLM's fault."""
    if not reasons:
        return Rejection.EMPTY
    if echoes == len(reasons):
        return Rejection.ECHO
    counts = Counter(reasons)
    return max(reasons, key=lambda reason: (counts[reason], reason is not Rejection.NAMES_ID_CLASS))


def whole_items(text: str) -> str:
    """Return a list that was cut off without its last item, which may be half a word; empty when no item is left.

    Args:
        text: the answer as it came; it is cut at its last line end, or where that leaves no name, within its line.
    """
    for separator in _ITEM_ENDS:
        ends = [match.start() for match in separator.finditer(text, max(0, len(text) - MAX_CHARACTERS))]
        if ends and parse_labels(text[: ends[-1]], 1).labels:
            return text[: ends[-1]]
    return ""


def parse_numbered_labels(text: str, limit: int = 5) -> list[str]:
    """Read numbered lines as the public code does: nothing else counts, and emphasis stays in.

    Args:
        text: the answer as it came; only its first few kB are looked at.
        limit: most labels returned.

    Returns:
        At most ``limit`` labels, cleaned by `tidy_labels`.
    """
    lines = text[: 4 * MAX_CHARACTERS].splitlines()
    numbered = [line[number.end() :] for line in lines if (number := _LEADING_NUMBER.match(line))]
    return tidy_labels(numbered)[:limit]


def tidy_labels(labels: Iterable[str]) -> list[str]:
    """Clean texts as the public code does, and keep the first of those that differ only in case.

    Ends and trailing full stops are stripped, white space is folded, the order is kept, and empty texts go.
    """
    first: dict[str, str] = {}
    for label in labels:
        cleaned = fold_spaces(label.strip().rstrip("."))
        if cleaned:
            first.setdefault(cleaned.casefold(), cleaned)
    return list(first.values())


def _label(item: str) -> str:
    """Strip an item to its name."""
    name = _BOX.sub("", fold_spaces(item.replace("_", " ")))
    quoted = _QUOTED.match(name)
    name = quoted[1] if quoted else name
    name = _FIELD.sub("", _bare(name.lstrip("\"'([{-•*# ")))
    name = _EXPLANATION.split(name, maxsplit=1)[0]
    name = name.strip("\"'.,;:!?()[]{} ")
    return _ARTICLE.sub("", _bare(name))


def _bare(name: str) -> str:
    """Strip emoji and other symbols off both ends."""
    while name and (unicodedata.category(name[0]) in _SYMBOLS or name[0].isspace()):
        name = name[1:]
    while name and (unicodedata.category(name[-1]) in _SYMBOLS or name[-1].isspace()):
        name = name[:-1]
    return name


def _label_fault(label: str, max_words: int) -> Rejection | None:
    found = fault(label)
    if found is not None:
        return found
    rambling = len(label.split()) > max_words or len(label) > _MAX_LABEL_CHARACTERS or PROSE.search(label) is not None
    return Rejection.RAMBLING if rambling else None
