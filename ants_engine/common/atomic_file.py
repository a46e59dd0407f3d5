"""Files that are written whole or not at all, tried beforehand, and read within bounds."""

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO

_PIECE = 1 << 20


TRIED = 1 << 20
"""Bytes that are written to see whether a disk takes any."""


def draft_of(path: Path) -> Path:
    """Return a name beside a file's place that nobody else uses, for what is to replace it.

    It is random: a process's number comes again, in every container that restarts.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def write_whole(path: Path, data: bytes | Iterable[bytes], *, draft: Path | None = None, mode: int = 0o666) -> None:
    """Write a file beside its place, bring it to disk, and put it there in one step; an existing file is replaced.

    Args:
        path: the file.
        data: what it holds, or the parts of that.
        draft: where it is written first, `draft_of` when left out. Whoever names one sees to it that nobody else does.
        mode: its permissions, before the umask has its say.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    if draft is None:
        draft = draft_of(path)
    else:
        draft.unlink(missing_ok=True)
    try:
        # O_EXCL never follows a link that lies in wait
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system can."""
    if os.name == "posix":
        # a folder that may not be read, and some file systems, refuse it
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read_at_most(stream: IO[bytes] | BufferedIOBase, limit: int) -> bytes:
    """Read what a stream has, and no more than ``limit`` bytes.

    ``stream.read(limit)`` would ask for all of ``limit`` in memory before the first byte is there.
    """
    data = BytesIO()
    while data.tell() < limit and (piece := stream.read(min(_PIECE, limit - data.tell()))):
        data.write(piece)
    return data.getvalue()


def try_folder(folder: Path) -> None:
    """Write a file into a folder, making that if need be, and remove all of it again.

    Permission bits do not tell: a disk may be full, or mounted to be read only.

    Raises:
        OSError: what a real write would end with.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, and a folder is needed", str(folder))
    try:
        _try_once(folder)
    except FileNotFoundError:
        # another process that tries the same may have removed the folder
        _try_once(folder)


def try_file(path: Path) -> None:
    """Try whether `write_whole` could write a file, as `try_folder` does.

    Raises:
        OSError: what a real write would end with.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder, and a file is needed", str(path))
    try_folder(path.parent)


def _try_once(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    made = []
    draft = folder / f".{secrets.token_hex(8)}"
    try:
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            made.append(place)
        with draft.open("xb") as file:
            file.write(bytes(TRIED))
            file.flush()
            os.fsync(file.fileno())
    finally:
        # what another process has put there meanwhile stays
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            for place in reversed(made):
                place.rmdir()
