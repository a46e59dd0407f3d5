"""The yes or no that an answer begins with, however an MLLM dresses it, and what it says after that.

A word decides only where it stands as an answer: "No. A wolf", "no, a wolf", "No it is a wolf" and "No" are a no, "No
parking sign on a wall" and "Non-fiction books" are none.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ants_engine.method.answer import clean, fold_spaces, plain_words
from ants_engine.method.refusal import is_refusal


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


_YES_WORDS = r"(?:yes+|yep|yup|yeah)"
_NO_WORDS = r"(?:no+(?!\.\s?\d)|nope|nah)"
# these decide only where they stand alone, or before a mark
_YES = _any(
    _YES_WORDS,
    r"y(?=\W*$)|yea|aye|affirmative|correct|true|right|indeed|absolutely|definitely|exactly|confirmed",
    r"(?:that is|that's|you are|you're) (?:right|correct|true)|i (?:think|believe) so",
    r"(?:it|this|that) (?:sure )?(?:is|does)(?=\s*(?:[.!]|$))",
    r"ja|jawohl|jep|oui|s[iíì]|sim|tak|ano|áno|da|igen|joo|kyllä|evet|ya|vâng|đúng|да|так|ναι|כן|نعم|हाँ|हां|ใช่",
    r"はい|ええ|うん|そうです|是的?|对|對|네|예",
)
_NO = _any(
    _NO_WORDS,
    r"n(?=\W*$)|negative|false|incorrect|wrong|neither",
    r"not (?:really|at all|quite)|(?:certainly|definitely|absolutely) not",
    r"(?:it|this|that)(?: is| does|'s) ?(?:not|n't)|(?:it|this|that) (?:isn't|doesn't)",
    r"(?:that is|that's) (?:wrong|false)",
    r"nein|nö|non|n[ãa]o|nee|nej|nei|nie|ne|ei|hay[ıi]r|tidak|bukan|không|нет|ні|не|όχι|לא|لا|नहीं|ไม่(?:ใช่)?",
    r"いいえ|いや|違います|不是?|否|不对|不對|아니[요오]|아뇨",
)
_STOP = r"(?=\s*(?:[.,;:!?…|()\[\]}\"'/=→—–。、，！：；،]|$|\n)|\s+-+(?:\s|$)|-\s|\s+\(?\d[.):]\s)"
# what may follow a yes or no that has no mark behind it; anything else may be a name: "no parking sign", "yes logo"
_GOES_ON = r"(?=\s+(?:it|its|it's|this|that|that's|there|the|an?|in|i|but|because|not|they|what|instead|rather)\b)"
_INDEED = r"(?=\s+(?:indeed|definitely|absolutely|exactly|correct|of course)\b)"
_REPEATED = rf"(?=\s+(?:(?:or|and)\s+)?(?:{_YES_WORDS}|{_NO_WORDS})(?:\W|$))"
_HEAD = re.compile(
    rf"(?P<yes>{_YES}{_STOP}|{_YES_WORDS}(?:{_GOES_ON}|{_INDEED}|{_REPEATED})|はい|是的)"
    rf"|(?P<no>{_NO}{_STOP}|{_NO_WORDS}(?:{_GOES_ON}|{_REPEATED})|いいえ|不是)",
    re.IGNORECASE,
)
_AGAIN = re.compile(
    rf"[\s.,;:/|!?\"'()\[\]]*(?:\b(?:or|and)\b)?[\s\"']*(?:(?P<yes>{_YES_WORDS})|(?P<no>{_NO_WORDS}))"
    rf"(?:{_STOP}|{_REPEATED})",
    re.IGNORECASE,
)
_DRESS = re.compile(r"(?:[\W_]|\(?\d{1,2}[.):]\s)*")
_BEFORE = re.compile(
    r"""(?:
      (?:(?:so|therefore|thus|hence|then)\b,?\s+)?(?:(?:the|my|your|final|short|correct)\s+){0,3}
        (?:answer|response|verdict|output|reply|conclusion|decision|result|assistant|ai|a)\s*
        (?:(?:is|would\s+be|should\s+be)\b|[:=|–—-]|(?=\n)|(?=\s+(?:yes|no)\b))
    | (?:sure|certainly|of\ course|okay|ok|well|hm+|great|thanks?|thank\ you|alright)\s*[,.:!-]
    | i(?:'d|\ would)?\ (?:say|answer|think|believe)(?:\ that)?[:,]?(?=\s)
    | (?:q(?:uestion)?\s*:\s*)?[^?.!\n]{1,160}\?
    | (?!(?:an?|the)\b)\w{1,30}(?:[ _-]\w{1,30}){0,2}\s*[:：]
    )[\W_]*""",
    re.IGNORECASE | re.VERBOSE,
)
_LAST = re.compile(
    rf"(?:^|\n|[.!?,;]\s)\W*(?:so|therefore|thus|hence)?,?\s*(?:(?:the|my|final)\s+){{0,2}}(?:answer(?:\s+is|:))?\W*"
    rf"(?:(?P<yes>{_YES_WORDS})|(?P<no>{_NO_WORDS}))\W*$",
    re.IGNORECASE,
)
_STATED = re.compile(
    rf"(?:\b(?:so|therefore|thus|hence),?\s+)?(?:\b(?:the|my|final)\s+){{0,3}}\banswer(?:\s+(?:is|would\s+be|should\s+be)|:)\W{{0,4}}(?:(?P<yes>{_YES_WORDS})|(?P<no>{_NO_WORDS})){_STOP}",
    re.IGNORECASE,
)
_JSON_KEY = re.compile(r"""^[{\[]\s*(?:["']?[\w -]{1,40}["']?\s*:)?\s*(?=["'\w])""")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF21, 0xFF5B)}
_SAYS_NO_MORE = 2


@dataclass(frozen=True, slots=True)
class YesNo:
    """An answer, taken apart."""

    said: bool | None
    """The yes (``True``) or no (``False``) that decides; ``None`` where there is none, or both."""
    both: bool
    """It says yes and no: "yes or no"."""
    rest: str
    """What is said besides; the whole cleaned text where nothing decides."""


def split_yes_no(text: str) -> YesNo:
    """Take the deciding yes or no off an answer's front; else off its end, or from where "the answer is" one.

    Marks, labels ("Answer:"), pleasantries, a question that is repeated, JSON and markup in front make no difference.

    Args:
        text: the answer as it came; of a long one the beginning is read (see `clean`).
    """
    lines = _flat(clean(text)).translate(_WIDE).split("\n")
    cleaned = "\n".join(filter(None, map(fold_spaces, lines)))
    at = _DRESS.match(cleaned).end()  # type: ignore[union-attr]
    for _ in range(4):
        head = _HEAD.match(cleaned, at)
        if head is not None:
            return _after(cleaned, head)
        before = _BEFORE.match(cleaned, at)
        if before is None:
            break
        at = before.end()
    last = _LAST.search(cleaned, max(0, len(cleaned) - 80)) or next(iter(deque(_STATED.finditer(cleaned), 1)), None)
    if last is not None:
        return YesNo(last["yes"] is not None, False, cleaned[: last.start()].strip())
    return YesNo(None, False, cleaned)


def read_yes_no(text: str) -> bool | None:
    """Read a yes (``True``) or no (``False``); ``None`` for an answer that is neither, both, or a refusal."""
    found = split_yes_no(text)
    return None if found.said is None or refuses(found.rest) else found.said


def refuses(rest: str) -> bool:
    """Tell whether what stands behind a yes or no takes it back: a refusal of some words. "N/A" says no more."""
    return len(rest.split()) > _SAYS_NO_MORE and is_refusal(rest)


_KIND = re.compile(
    r"\b(?:kinds?|types?|sorts?|breeds?|species|forms?|variety|varieties|examples?|synonyms?|the same)\b", re.IGNORECASE
)
_NOT = re.compile(r"\b(?:not|no|nor|never|different|unrelated)\b|n't\b", re.IGNORECASE)
_BOTH = re.compile(r"\W*(?:both|either)\b", re.IGNORECASE)
_NEITHER = re.compile(r"\W*(?:neither|none)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the) ")


def read_kind(text: str, thing: str, class_name: str) -> bool | None:
    """Read an answer to ``kind/v1``: whether a negative text and a class are of one kind, either way round.

    Args:
        text: the answer as it came.
        thing: the negative text that was asked about.
        class_name: the class that was asked about.

    Returns:
        ``True`` for a yes, "both", or a statement of both names such as "A poodle is a kind of dog"; ``False`` for a
        no, "neither", or such a statement denied; ``None`` where it cannot be told.
    """
    found = split_yes_no(text)
    if found.said is not None or found.both:
        return None if found.both or refuses(found.rest) else found.said
    if is_refusal(found.rest):
        return None
    if _BOTH.match(found.rest) or _NEITHER.match(found.rest):
        return _BOTH.match(found.rest) is not None
    first = re.split(r"[.!?\n]", found.rest.strip(), maxsplit=1)[0]
    words = f" {plain_words(first)} "
    names = [_ARTICLE.sub("", plain_words(name)) for name in (thing, class_name)]
    if not _KIND.search(first) or not all(f" {name} " in words for name in names):
        return None
    return _NOT.search(first) is None


def _after(cleaned: str, head: "re.Match[str]") -> YesNo:
    """Read on behind the first yes or no: said again it is the same, and with the other it is neither."""
    said = head["yes"] is not None
    end = head.end()
    while (again := _AGAIN.match(cleaned, end)) is not None and again.end() > end:
        if (again["yes"] is not None) != said:
            return YesNo(None, True, cleaned)
        end = again.end()
    return YesNo(said, False, cleaned[end:].strip(" \t\n.,;:!?…|\"'/=→—–-()[]}。、，！：；،"))


def _flat(cleaned: str) -> str:
    """Return JSON that holds a yes or no as plain text: that word, and what else is said; other text as it is."""
    if not cleaned.startswith(("{", "[")):
        return cleaned
    try:
        value, _ = json.JSONDecoder().raw_decode(cleaned)
        parts = list(_parts(value))
    except (ValueError, RecursionError):
        # cut off, or in another spelling
        return _JSON_KEY.sub("", cleaned).strip("{}[]\"' \n")
    verdict = next((part for part in parts if isinstance(part, bool) or _HEAD.fullmatch(part.strip())), None)
    if verdict is None:
        # "No. A wolf" as the only text
        return next((part for part in parts if isinstance(part, str)), cleaned) if len(parts) == 1 else cleaned
    texts = [part for part in parts if isinstance(part, str) and part is not verdict]
    said = {True: "yes", False: "no"}[verdict] if isinstance(verdict, bool) else verdict.strip()
    return f"{said}. {max(texts, key=lambda each: len(each.split()), default='')}"


def _parts(value: object) -> Iterator[str | bool]:
    """Yield the texts and truth values of JSON, in order; a key that is a yes or no counts as one."""
    if isinstance(value, str | bool):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            if _HEAD.fullmatch(key.strip()):
                yield key
            yield from _parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parts(each)
