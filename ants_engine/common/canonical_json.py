"""Canonical JSON for keys and checksums, and readable JSON for people."""

import hashlib
import json
import re

from pydantic import ValidationError

_HIDDEN = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Control, direction and invisible characters; a fixed list, since a Unicode table depends on Python's version."""


# Made once: json.dumps would make one for each call.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_READABLE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> str:
    """Serialise to canonical JSON, for keys and checksums: ASCII, sorted keys, no blanks.

    Floats are in Python's shortest round-trip form, the same on every machine.

    Raises:
        TypeError: the value, or a part of it, is not JSON.
        ValueError: a number is not finite.
    """
    return _CANONICAL.encode(value)


def digest(text: str) -> str:
    """Hash canonical JSON: sha256, hex."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def readable(value: object, indent: int | None = None) -> str:
    """Serialise JSON for people: all scripts as they are, control and invisible characters escaped.

    So are the surrogates of file names that are not UTF-8: the text can be encoded, and the name is recovered.

    Raises:
        TypeError: the value, or a part of it, is not JSON.
        ValueError: a number is not finite.
    """
    spelled = (
        _READABLE.encode(value)
        if indent is None
        else json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    )
    return _HIDDEN.sub(_escape, spelled)


def excerpt(text: str, limit: int = 80) -> str:
    """Quote the start of a text on one line."""
    return readable(text if len(text) <= limit else text[: limit - 1] + "…")


def first_fault(error: ValidationError, whole: str = "") -> str:
    """Say where parsed JSON first does not fit its model, and why; without what it holds.

    Args:
        error: as pydantic raised it.
        whole: what the place is called where it is the document itself.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def _escape(found: re.Match[str]) -> str:
    # Beyond the first plane JSON escapes are surrogate pairs, which json.dumps knows how to spell.
    return json.dumps(found[0])[1:-1]
