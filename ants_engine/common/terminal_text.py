"""Text from elsewhere made fit for a terminal: names, answers and errors are shown, never obeyed."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls, line ends, direction marks, invisible characters, and half characters out of undecodable file names."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    r"""Give a text as one line without anything that a terminal acts on or that hides: ``\x1b`` becomes ``\\x1b``.

    Letters of every script, emoji and the joiners inside them stay as they are.
    """
    return _UNFIT.sub(_spelled, text)


def encodable(text: str) -> str:
    r"""Spell what Python makes of a file name that is not UTF-8, which no terminal and no file takes: ``\\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_lines(text: str) -> str:
    """Do the same to each line of a text that is laid out in lines; give `plain` the parts of it before."""
    return "\n".join(plain(line) for line in text.split("\n"))


def plain_json(text: str) -> str:
    r"""Escape inside JSON's strings what JSON itself lets through, such as the one-byte CSI ``\x9b``.

    Args:
        text: a JSON document; its own line ends and blanks stay.
    """
    return _UNFIT.sub(lambda found: found[0] if found[0] in "\n\r\t" else _json_escape(found[0]), text)


def plain_parts(value: T) -> T:
    """Return a copy of a value (text, list, tuple, mapping, dataclass) in which every text is `plain`.

    What is of none of these kinds is given back as it is.
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
