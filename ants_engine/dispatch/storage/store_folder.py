"""The store's folder: made private, and nothing else in it."""

import os
from contextlib import suppress
from pathlib import Path

from ants_engine.dispatch.storage.claims import FILE as CLAIMS
from ants_engine.errors import StoreUnavailableError

DATABASE = "cache.db"
LOCK = "open.lock"
DAMAGED = "damaged"
"""Folder of what was moved aside."""
DATABASE_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal")
OWN = {*DATABASE_FILES, LOCK, DAMAGED, CLAIMS}
"""Names of all that a store's folder holds."""


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
        if DATABASE not in found and found - OWN:
            raise StoreUnavailableError(
                f"{folder}: holds other files and no response store; name a new or empty folder (dispatch.store)"
            )
        links = [name for name in sorted(OWN) if (folder / name).is_symlink()]
        if links:
            raise StoreUnavailableError(f"{folder}: {links[0]} is a link; a response store has none")
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            # One who only reads may do so where nothing can be changed.
            with suppress(*(() if make else (OSError,))):
                folder.chmod(0o700)
    except OSError as error:
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be opened: {error.strerror}; "
            "see to the folder or name another (dispatch.store)"
        ) from error


def holds_store(folder: Path) -> bool:
    """Tell whether a store is in a folder, or what is left of one."""
    return (folder / DATABASE).exists() or (folder / DAMAGED).is_dir()
