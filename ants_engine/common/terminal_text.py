"""Untrusted text (names, answers, errors) escaped for a terminal, so that it cannot send control sequences."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Control characters, line ends, direction marks, invisible characters, and lone surrogates of undecodable names."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    r"""Escape a text to one line without control or invisible characters: ``\x1b`` becomes ``\\x1b``.

    Letters of every script, emoji and the joiners inside them stay as they are.
    """
    return _UNFIT.sub(_spelled, text)


def encodable(text: str) -> str:
    r"""Escape lone surrogates of file names that are not UTF-8, so that the text can be encoded: ``\\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_lines(text: str) -> str:
    """Apply `plain` to each line of a text; untrusted parts must have been escaped before."""
    return "\n".join(plain(line) for line in text.split("\n"))


def plain_json(text: str) -> str:
    r"""Escape characters that JSON itself leaves as they are, such as the one-byte CSI ``\x9b``.

    Args:
        text: a JSON document; its own line ends and blanks stay.
    """
    return _UNFIT.sub(lambda found: found[0] if found[0] in "\n\r\t" else _json_escape(found[0]), text)


def plain_parts(value: T) -> T:
    """Return a copy of a value (text, list, tuple, mapping, dataclass) in which every text is `plain`.

    Other values are returned unchanged.
    """
    return _parts(value)  # type: ignore[no-any-return]


def _parts(value: Any) -> Any:
    if isinstance(value, str):
        # an enumeration's member stays one
        return plain(value) if type(value) is str else value
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_parts(item) for item in value)
    if isinstance(value, dict):
        return {_parts(key): _parts(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {field.name: _parts(getattr(value, field.name)) for field in fields(value) if field.init}
        return replace(value, **changed)
    return value


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
