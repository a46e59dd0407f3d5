"""The store's folder, made private; and what the disk raises, as errors that say what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ants_engine.dispatch.storage.claims import FILE as CLAIMS
from ants_engine.dispatch.storage.journal import DAMAGED, DRAFT, INDEX, JOURNAL, LOCK, ReplacedError
from ants_engine.errors import StoreUnavailableError

OLDER = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal", "open.lock", "damaged")
"""What versions before 0.2 kept here."""
CARRIED = "older"
"""Folder of those, once they have been carried over."""
OWN = {JOURNAL, DRAFT, LOCK, INDEX, DAMAGED, CLAIMS, CARRIED, *OLDER}
"""Names of all that a store's folder holds."""

_WRITABLE = "make the folder and its files writable for this user"
_ADVICE = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space: this user's share of the disk is used up",
    errno.EFBIG: "free some space: this process may write no larger file",
    errno.EROFS: _WRITABLE,
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.ENOENT: "put the folder back, or run again, which makes a new one",
}


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn what comes from below into errors that say what to do.

    Raises:
        StoreUnavailableError: the store is out of reach for now.
    """
    try:
        yield
    except ReplacedError as error:
        raise StoreUnavailableError(f"{error}; run again") from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see to the folder and its disk")
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be used: {error.strerror or error}; {advice}, then run again"
        ) from error


def prepare_folder(folder: Path, *, make: bool) -> None:
    """See that the folder is there, readable by its owner alone, and make it if it may be made.

    Raises:
        StoreUnavailableError: it cannot be made or used, holds other things, or has links where files should be.
    """
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif not holds_store(folder):
            raise StoreUnavailableError(f"{folder}: no response store is there; name the one that was recorded")
        found = {each.name for each in folder.iterdir()}
        if JOURNAL not in found and found - OWN:
            raise StoreUnavailableError(
                f"{folder}: holds other files and no response store; name a new or empty folder (dispatch.store)"
            )
        links = [name for name in sorted(OWN) if (folder / name).is_symlink()]
        if links:
            raise StoreUnavailableError(f"{folder}: {links[0]} is a link; a response store has none")
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            # one who only reads may do so where nothing can be changed
            with suppress(*(() if make else (OSError,))):
                folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be opened: {error.strerror}; "
            "see to the folder or name another (dispatch.store)"
        ) from error


def holds_store(folder: Path) -> bool:
    """Tell whether a store is in a folder."""
    return (folder / JOURNAL).exists() or (folder / OLDER[0]).exists()
