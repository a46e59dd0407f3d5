"""Text and paths as users write them: byte order marks, UTF-16, line ends, ``~``."""

import codecs
import errno
import os
from pathlib import Path

from ants_engine.common.atomic_file import read_at_most

MAX_TEXT = 256 << 20
"""Limit in bytes; no person writes a larger file."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # before UTF-16, whose little-endian mark is a prefix of this one
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(data: bytes, errors: str = "strict") -> str:
    r"""Decode a text, with ``\n`` line ends and without a byte order mark.

    UTF-8 unless it begins with a byte order mark of UTF-16 or UTF-32, as Windows and Excel write ("Unicode text").

    Args:
        data: the file's bytes.
        errors: ``surrogateescape`` for lists of files, whose names may be any bytes.

    Raises:
        UnicodeDecodeError: another encoding, or zero bytes (a binary file, or UTF-16 without a mark).
    """
    encoding, start = next(((name, len(mark)) for mark, name in _MARKS if data.startswith(mark)), ("utf-8", 0))
    text = data[start:].decode(encoding, errors if encoding == "utf-8" else "strict")
    zero = text.find("\0")
    if zero >= 0:
        raise UnicodeDecodeError("utf-8", data, zero, zero + 1, "a zero byte; a binary file, or UTF-16 without a mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a file as `decode_text` does.

    Raises:
        OSError: it cannot be read, or is larger than `MAX_TEXT` (such as ``/dev/zero``).
        UnicodeDecodeError: as for `decode_text`.
    """
    with path.open("rb") as file:
        data = read_at_most(file, MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise OSError(errno.EFBIG, f"more than {MAX_TEXT >> 20} MiB of text", str(path))
    return decode_text(data, errors)


def expand_home(path: str | os.PathLike[str]) -> str:
    """Expand ``~/…`` and ``~user/…`` as a shell does.

    A path that names a file as it stands (``~draft.jpg``), or no user, is returned unchanged.
    """
    text = os.fspath(path)
    if not text.startswith("~") or os.path.lexists(text):
        return text
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib's raises where there is no such user
