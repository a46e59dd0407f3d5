"""Atomic writes, write tests in advance, and bounded reads."""

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
"""Bytes written to test a disk."""


def draft_of(path: Path) -> Path:
    """Return an unused name beside a file, for the draft that will replace it.

    It is random, since process ids repeat in containers that restart.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def write_whole(path: Path, data: bytes | Iterable[bytes], *, draft: Path | None = None, mode: int = 0o666) -> None:
    """Write a file atomically: write a draft beside it, fsync, rename; an existing file is replaced.

    Args:
        path: the file.
        data: its content, whole or in parts.
        draft: the draft's path, `draft_of` by default. The caller must ensure that nobody else uses it.
        mode: permissions, subject to the umask.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    if draft is None:
        draft = draft_of(path)
    else:
        draft.unlink(missing_ok=True)
    try:
        # O_EXCL never follows a planted link
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, where the system supports it."""
    if os.name == "posix":
        # refused by unreadable folders and by some file systems
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read_at_most(stream: IO[bytes] | BufferedIOBase, limit: int) -> bytes:
    """Read a stream, at most ``limit`` bytes.

    ``stream.read(limit)`` would allocate all of ``limit`` before the first byte is read.
    """
    data = BytesIO()
    while data.tell() < limit and (piece := stream.read(min(_PIECE, limit - data.tell()))):
        data.write(piece)
    return data.getvalue()


def try_folder(folder: Path) -> None:
    """Test that files can be written into a folder: create it if needed, write a file, and remove everything again.

    Permission bits are not enough: a disk may be full or mounted read-only.

    Raises:
        OSError: the error that a real write would raise.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, and a folder is needed", str(folder))
    try:
        _try_once(folder)
    except FileNotFoundError:
        # another process doing the same test may have removed the folder
        _try_once(folder)


def try_file(path: Path) -> None:
    """Test that `write_whole` could write a file; see `try_folder`.

    Raises:
        OSError: the error that a real write would raise.
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
        # a folder that another process uses meanwhile stays
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            for place in reversed(made):
                place.rmdir()
