"""Files that are written whole or not at all, and read within bounds."""

import os
import secrets
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO

_PIECE = 1 << 20


def draft_of(path: Path) -> Path:
    """Return a name beside a file's place that nobody else uses, for what is to replace it.

    It is random: a process's number comes again, in every container that restarts.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, bring it to disk, and put it there in one step; an existing file is replaced.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    draft = draft_of(path)
    try:
        # "x" never follows a link that lies in wait, and the umask decides who may read
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_at_most(stream: IO[bytes] | BufferedIOBase, limit: int) -> bytes:
    """Read what a stream has, and no more than ``limit`` bytes.

    ``stream.read(limit)`` would ask for all of ``limit`` in memory before the first byte is there.
    """
    data = BytesIO()
    while data.tell() < limit and (piece := stream.read(min(_PIECE, limit - data.tell()))):
        data.write(piece)
    return data.getvalue()
