"""Class names out of an MLLM's list of look-alikes (stage 5, VSNL; paper eq. 11)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ants_engine.method.answer import MAX_CHARACTERS, Rejection, clean, fault, fold_spaces, json_array
from ants_engine.method.class_names import ClassNames

_LEADING_NUMBER = re.compile(r"\s*\d+[-.:)]")

_NUMBERED = re.compile(r"^\s*[(\[]?\d{1,3}\s*[.):\]\-]+\s*(?=\D)(.+)$")
_BULLETED = re.compile(r"^\s*(?:[-*•·‣◦▪–—+]|[A-Za-z][.)])\s+(.+)$")
_INLINE_NUMBER = re.compile(r"(?:^|(?<=[\s,;]))\(?\d{1,2}[.):]\s*(?=\D)")
_PREAMBLE = re.compile(r"^[^:(\n]{0,120}:\s+(?=\S)")
_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.){1,80})"')
_EXPLANATION = re.compile(
    r"\s+[-–—]+\s+|\s*[—:;,(\[|]\s*|\s*[-=]>\s*|\s+(?:which|that|because|due to)\s+"
    r"|(?<!\bSt)(?<!\bMt)(?<!\bDr)(?<!\bMr)[.!?](?:\s|$)"
)
_ARTICLE = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)
_LAST_AND = re.compile(r"^(?:and|or|&)\s+", re.IGNORECASE)
_INNER_AND = re.compile(r"\s+(?:and|or|&)\s+", re.IGNORECASE)
_PROSE = re.compile(
    r"\b(?:is|are|was|were|be|has|have|looks?|resembles?|resembling|here|sure|certainly|these|those|they|it|you|i(?!-)|let|hope|"
    r"includes?|visually)\b",
    re.IGNORECASE,
)
_COLOUR_PAIR = re.compile(
    r"\b(?:black|white|red|green|blue|yellow|orange|purple|brown|pink|gr[ae]y|gold|silver)\s+(?:and|or|&)\s",
    re.IGNORECASE,
)
_ITEM_ENDS = (re.compile(r"\n"), re.compile(r"[;,]"), re.compile(r"\s(?=\(?\d{1,2}[.):]\s)"))
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
        asked: the class whose look-alikes these are: a label that contains this name is a kind of it, and set aside.
        class_names: ID classes: a label that *is* one of them is set aside ("sea lion" is not "lion").
        max_words: a longer label is rambling.

    Raises:
        ValueError: ``limit`` or ``max_words`` below 1.
    """
    if limit < 1 or max_words < 1:
        raise ValueError(f"limit and max_words must be at least 1, not {limit} and {max_words}")
    cleaned = clean(text)
    itemised, items = _items(cleaned)
    whole = fault(cleaned)
    if whole is Rejection.EMPTY or (whole is not None and not itemised):
        return Labels(labels=(), rejection=whole)
    own = ClassNames([asked]) if asked is not None else None
    labels: list[str] = []
    rejected: list[tuple[str, Rejection]] = []
    seen: set[str] = set()
    for item in items[:_MAX_ITEMS]:
        label = _label(item)
        reason = _label_fault(label, max_words)
        if reason is None and (
            (own is not None and own.find(label) is not None) or (class_names is not None and class_names.equals(label))
        ):
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
    rejection = None
    if not labels:
        rejection = rejected[0][1] if rejected else Rejection.EMPTY
    return Labels(labels=tuple(labels), rejected=tuple(rejected), rejection=rejection)


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


def _items(text: str) -> tuple[bool, list[str]]:
    """Find the list in a cleaned answer: whether it is marked as one, and its items."""
    quoted = json_array(text)
    if quoted:
        return True, quoted
    lines = [line for line in text.split("\n") if line.strip()]
    for mark in (_NUMBERED, _BULLETED):
        marked = [match for line in lines if (match := mark.match(line))]
        if len(marked) == 1:
            # The whole list may stand behind one mark.
            return True, _split_numbers(marked[0][0]) or _split_line(marked[0][1])
        if marked:
            return True, [match[1] for match in marked]
    inline = [piece for line in lines for piece in _split_numbers(line)]
    if inline:
        return True, inline
    # A line that ends in a colon announces the list; it is no part of it.
    lines = [line for line in lines if not line.rstrip().endswith(":")]
    split = [piece for line in lines for piece in _split_line(_PREAMBLE.sub("", line, count=1))]
    return False, split


def _split_numbers(line: str) -> list[str]:
    """Split "1. wolf 2. dingo"; nothing when the line holds fewer than two numbers."""
    pieces = _INLINE_NUMBER.split(line)
    return [piece for piece in pieces[1:] if piece.strip()] if len(pieces) > 2 else []


def _split_line(line: str) -> list[str]:
    """Split a line at numbers, commas, semicolons or bars; a line without them is one item."""
    numbered = _split_numbers(line)
    if numbered:
        return numbered
    for separator in (";", "|", ","):
        pieces = [piece for piece in line.split(separator) if piece.strip()]
        if len(pieces) > 2 or (len(pieces) == 2 and not _PROSE.search(line)):
            last = _LAST_AND.sub("", pieces[-1].strip())
            # "a, b and c": the last comma is often left out; but "black and white marbles" are one thing.
            joined = last == pieces[-1].strip() and _COLOUR_PAIR.search(last) is None
            tail = _INNER_AND.split(last, maxsplit=1) if joined else [last]
            return [*pieces[:-1], *tail]
    return [line]


def _label(item: str) -> str:
    """Strip an item to its name."""
    name = fold_spaces(item.replace("_", " "))
    quoted = _QUOTED.match(name)
    name = quoted[1] if quoted else name
    name = name.lstrip("\"'([{-•*# ")
    name = _EXPLANATION.split(name, maxsplit=1)[0]
    name = name.strip("\"'.,;:!?()[]{} ")
    return _ARTICLE.sub("", name)


def _label_fault(label: str, max_words: int) -> Rejection | None:
    found = fault(label)
    if found is not None:
        return found
    rambling = len(label.split()) > max_words or len(label) > _MAX_LABEL_CHARACTERS or _PROSE.search(label) is not None
    return Rejection.RAMBLING if rambling else None
