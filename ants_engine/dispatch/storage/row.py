"""The only form in which the response store reads and writes rows: bytes, in the row, under a sha256."""

import re

MODE = 1
"""How a row says that its value is plain bytes; the other modes of earlier times are pickles and files."""

_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


class RefusedRowError(ValueError):
    """A row is not of the only form that is ever written."""


def is_key(key: object) -> bool:
    """Tell whether a row's key is one of ours: a hex sha256, as text."""
    return type(key) is str and _KEY.fullmatch(key) is not None


def value_of(mode: object, filename: object, value: object) -> bytes:
    """Take the bytes out of a row.

    Raises:
        RefusedRowError: the row is of another mode (pickle, say), names a file, or holds something else.
    """
    if mode != MODE or filename is not None or type(value) is not bytes:
        raise RefusedRowError("the row does not hold plain bytes")
    return value
