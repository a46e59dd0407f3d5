"""The items of a list, however an MLLM lays it out: JSON, a table, numbers, bullets, headings, commas, bare lines."""

import json
import re
from collections.abc import Callable, Iterator

_NOUN = (
    r"(?:no|nr|number|item|option|class|label|name|thing|object|animal|candidate|example|answer|choice"
    r"|look-?alike|similar (?:class|object|thing|animal))"
)
_NUMBERED = re.compile(
    rf"^(?P<indent>\s*)(?:#{{1,6}}\s+)?(?:{_NOUN}\b\.?\s*)?(?:[(\[#№]?\s?(?P<number>\d{{1,3}})\s*[.):\]–—．、）：-]+\s*|[#№]\s?\d{{1,3}}\s+)"
    r"(?=\D)(?P<item>.+)$",
    re.IGNORECASE,
)
_SPELLED = re.compile(
    r"^(?P<indent>\s*)(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|next|last|final)(?:ly)?\s?[,:.)-]+\s*"
    r"(?P<item>.+)$",
    re.IGNORECASE,
)
_ROMAN = re.compile(r"^(?P<indent>\s*)\(?(?:x{0,2}(?:ix|iv|v?i{1,3}|v)|x{1,2})[.):]\s*(?P<item>\D.*)$", re.IGNORECASE)
_HEADING = re.compile(r"^(?P<indent>\s*)#{1,6}\s+(?P<item>.+)$")
_BULLETED = re.compile(r"^(?P<indent>\s*)(?:[-*•·‣◦▪▸►➤➔→✓✔✅●○■□–—+]|\(?[A-Za-z][.)])\s*(?<=[\s•●])(?P<item>.+)$")
_BARE_NUMBER = re.compile(r"^(?P<indent>\s*)(?P<number>\d{1,2})\s+(?P<item>\D.+)$")
_FIELD = re.compile(rf"^(?P<indent>\s*){_NOUN}\s?:\s*(?P<item>\S.*)$", re.IGNORECASE)
_EMOJI = re.compile(r"^(?P<indent>\s*)[\u2190-\u2bff\u3030\U0001f000-\U0001faff]\ufe0f?\s*(?P<item>.+)$")

_QUOTE_MARK = re.compile(r"^[ \t]*>+[ \t]?", re.MULTILINE)
_EXPLAINED = re.compile(r"^[^,;:(]{1,60}(?:\s[-–—]\s|:\s|\s\()")
_NAMED_LINE = re.compile(r"^[^\S\n]*[^:\n]{1,60}:\s+\S")
_ANNOUNCED = re.compile(
    r"^[^,:\n]{1,120}\b(?:are|include|includes|be|like)\s+(?=[^,]{1,60},[^,]{1,60},)", re.IGNORECASE
)
_INLINE_NUMBER = re.compile(r"(?:^|(?<=[\s,;]))\(?\d{1,2}[.):]\s*(?=\D)")
_PREAMBLE = re.compile(r"^[^:(\n]{0,120}:\s+(?=\S)")
_LAST_AND = re.compile(r"^(?:and|or|&)\s+", re.IGNORECASE)
_INNER_AND = re.compile(r"\s+(?:and|or|&)\s+", re.IGNORECASE)
_COLOUR_PAIR = re.compile(
    r"\b(?:black|white|red|green|blue|yellow|orange|purple|brown|pink|gr[ae]y|gold|silver)\s+(?:and|or|&)\s",
    re.IGNORECASE,
)
PROSE = re.compile(
    r"\b(?:is|are|was|were|be|has|have|looks?|resembles?|resembling|here|sure|certainly|these|those|they|it|you|i(?!-)"
    r"|let|hope|includes?|visually)\b",
    re.IGNORECASE,
)

_NO_NAME = re.compile(rf"{PROSE.pattern}|^\s*(?:{_NOUN}|why|reason|note)\b", re.IGNORECASE)
_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*){0,20}\|?\s*$")
_NAME_COLUMN = re.compile(
    rf"\b(?:{_NOUN}s?|species|look-?alikes?|similar|category|title|entity|lookalikes?)\b", re.IGNORECASE
)
_NUMBER_COLUMN = re.compile(r"^(?:#|№|\W*(?:no|nr|num|number|rank|index|id|s\.?no)\W*)$", re.IGNORECASE)

_JSON = re.compile(r'\[\s*["{\[]|\{\s*"')
_JSON_MORE = re.compile(r"[\s,]*(?=\{)")
_JSON_QUOTED = re.compile(r'"((?:[^"\\\n]|\\.){1,400})"(\s*:)?')
_JSON_NAMED = re.compile(r'"(?:name|label|class|class_name|object|\w{0,20}\d+)"\s*:\s*"((?:[^"\\\n]|\\.){1,400})"')
_NAME_KEYS = (
    "name",
    "label",
    "class",
    "class_name",
    "object",
    "item",
    "thing",
    "animal",
    "title",
    "look_alike",
    "answer",
)
_NUMBER_KEY = re.compile(
    r"^\D{0,20}\d{1,3}$|^(?:first|second|third|fourth|fifth|sixth|one|two|three|four|five|six|[a-h])$"
)
_EXPLAINS = 6
"""More words than this are an explanation, not a name."""
_MOST = 200


def list_items(text: str) -> tuple[bool, list[str]]:
    """Find the list in a cleaned answer.

    Returns:
        Whether it is marked as a list, and its items in order; of a nested list the main ones.
    """
    items = _json_items(text)
    if len(items) == 1 and _JSON.match(items[0]) is None:
        # one text may hold the whole list: {"answer": "wolf, dingo, jackal"}
        items = list_items(items[0])[1]
    if items:
        return True, items
    text = _QUOTE_MARK.sub("", text)
    lines = [line for line in text.split("\n") if line.strip()]
    items = _column(lines)
    if items:
        return True, items
    for mark, fewest, fits in _MARKS:
        marked = [match for line in lines if (match := mark.match(line))]
        if len(marked) < fewest or not fits(marked):
            continue
        if len(marked) == 1:
            # the whole list may stand behind one mark
            item = marked[0]["item"]
            return True, _split_numbers(marked[0][0]) or ([item] if _EXPLAINED.match(item) else _split_line(item))
        return True, [match["item"] for match in _main(marked)]
    inline = [piece for line in lines for piece in _split_numbers(line)]
    return (True, inline) if inline else (False, _bare_items(lines))


def _bare_items(lines: list[str]) -> list[str]:
    """Return the items of lines that have no marks."""
    # a line that ends in a colon announces the list; it is no part of it
    lines = [line for line in lines if not line.rstrip().endswith(":")]
    if len(lines) > 1 and all(
        _NAMED_LINE.match(line) and _NO_NAME.search(line.partition(":")[0]) is None for line in lines
    ):
        return lines
    lines = [_ANNOUNCED.sub("", _PREAMBLE.sub("", line, count=1), count=1) for line in lines]
    return [piece for line in lines for piece in _split_line(line)]


def described(text: str) -> str | None:
    """Return the description in a cleaned answer that is JSON: of its texts the one with most words; else ``None``."""
    if _JSON.match(text) is None:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
        return max(_texts(value), key=lambda each: len(each.split()), default=None)
    except (ValueError, RecursionError):
        return None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _always(_: "list[re.Match[str]]") -> bool:
    return True


def _count_up(marked: "list[re.Match[str]]") -> bool:
    return [int(match["number"]) for match in marked] == list(range(1, len(marked) + 1))


_MARKS: "tuple[tuple[re.Pattern[str], int, Callable[[list[re.Match[str]]], bool]], ...]" = (
    (_NUMBERED, 1, _always),
    (_SPELLED, 2, _always),
    (_ROMAN, 2, _always),
    (_FIELD, 2, _always),
    (_HEADING, 2, _always),
    (_BULLETED, 1, _always),
    (_EMOJI, 2, _always),
    (_BARE_NUMBER, 2, _count_up),
)
"""How items are marked, from how many on, and what must hold. The first that fits counts."""


def _main(marked: "list[re.Match[str]]") -> "list[re.Match[str]]":
    """Leave out the items of inner lists: those that are indented, where several are not."""
    least = min(len(match["indent"].expandtabs(4)) for match in marked)
    main = [match for match in marked if len(match["indent"].expandtabs(4)) < least + 2]
    return main if len(main) > 1 else marked


def _split_numbers(line: str) -> list[str]:
    """Split "1. wolf 2. dingo"; nothing when the line holds fewer than two numbers."""
    pieces = _INLINE_NUMBER.split(line)
    return [piece for piece in pieces[1:] if piece.strip()] if len(pieces) > 2 else []


def _split_line(line: str) -> list[str]:
    """Split a line at numbers, commas, semicolons, bars or dots; a line without them is one item."""
    numbered = _split_numbers(line)
    if numbered:
        return numbered
    for separator in (";", "|", "•", "·", ",", " / "):
        pieces = [piece for piece in line.split(separator) if piece.strip()]
        if len(pieces) > 2 or (len(pieces) == 2 and separator != " / " and not PROSE.search(line)):
            last = _LAST_AND.sub("", pieces[-1].strip())
            # "a, b and c": the last comma is often left out; but "black and white marbles" are one thing
            joined = last == pieces[-1].strip() and _COLOUR_PAIR.search(last) is None
            tail = _INNER_AND.split(last, maxsplit=1) if joined else [last]
            return [*pieces[:-1], *tail]
    return [line]


def _column(lines: list[str]) -> list[str]:
    """Return the names in a table: the column whose header says so, or else the first one with words in it."""
    rule = next((at for at, line in enumerate(lines) if "|" in line and _RULE.match(line)), None)
    barred = [line for line in lines[(rule or 0) :] if "|" in line]
    if rule is not None:
        header, rows = _cells(lines[rule - 1]) if rule else [], [_cells(line) for line in barred[1:]]
    else:
        rows = [_cells(line) for line in barred]
        if len(rows) < 2 or not all(
            line.lstrip().startswith("|") or _cells(line)[0].isdecimal() for line in barred[1:]
        ):
            return []
        named = any(_NAME_COLUMN.search(cell) or _NUMBER_COLUMN.match(cell) for cell in rows[0])
        header, rows = (rows[0], rows[1:]) if named else ([], rows)
    if not rows:
        return []
    at = next(
        (place for place, cell in enumerate(header) if _NAME_COLUMN.search(cell) and not _NUMBER_COLUMN.match(cell)),
        next((place for place, cell in enumerate(rows[0]) if any(map(str.isalpha, cell))), 0),
    )
    return [row[at] for row in rows if at < len(row) and any(map(str.isalpha, row[at]))]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _json_items(text: str) -> list[str]:
    """Return the names in an answer's JSON, also where it was cut off."""
    start = _JSON.search(text)
    if start is None:
        return []
    decoder = json.JSONDecoder()
    items: list[str] = []
    at = start.start()
    try:
        while len(items) < _MOST:
            value, at = decoder.raw_decode(text, at)
            items += [name for name in _names(value) if name.strip()][:_MOST]
            more = _JSON_MORE.match(text, at)
            if more is None:
                return items
            at = more.end()
    except (ValueError, RecursionError):
        if not items:
            quoted = _JSON_QUOTED.findall(text, start.start())
            items = _JSON_NAMED.findall(text, start.start()) or [name for name, colon in quoted if not colon]
    return items


def _names(value: object) -> Iterator[str]:
    """Yield the names in decoded JSON."""
    if isinstance(value, list):
        yield from filter(None, map(_name, value))
    elif isinstance(value, dict):
        inner = next((each for each in value.values() if isinstance(each, list) and any(map(_name, each))), None)
        if inner is not None:
            yield from _names(inner)
        elif len(value) == 1 and isinstance(only := next(iter(value.values())), dict):
            yield from _names(only)
        elif (name := _named(value)) is not None:
            yield name
        else:
            yield from _pairs(value)


def _pairs(value: dict[str, object]) -> Iterator[str]:
    """Yield the names of an object that stands for a list: its values where the keys count, else its keys."""
    texts = [each for each in value.values() if isinstance(each, str)]
    count = all(_NUMBER_KEY.match(key.strip().casefold()) for key in value)
    short = len(texts) == len(value) == len(set(texts)) and max(len(text.split()) for text in texts) <= _EXPLAINS
    if count or short:
        yield from filter(None, map(_name, value.values()))
    else:
        yield from value


def _named(value: dict[str, object]) -> str | None:
    return next((found for key in _NAME_KEYS if isinstance(found := value.get(key), str)), None)


def _name(value: object) -> str | None:
    """Return the name that an element of a list stands for."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _named(value) or next((each for each in value.values() if isinstance(each, str)), None)
    if isinstance(value, list):
        return next((each for each in value if isinstance(each, str)), None)
    return None
