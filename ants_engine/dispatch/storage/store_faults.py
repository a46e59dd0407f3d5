"""What SQLite and the operating system raise, as this package's errors, with what to do about it."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ants_engine.dispatch.storage.database import ReplacedError, is_damage
from ants_engine.dispatch.storage.entry import DamagedEntryError, NewerEntryError
from ants_engine.dispatch.storage.row import RefusedRowError
from ants_engine.errors import StoreCorruptedError, StoreUnavailableError

_ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_READONLY: "make the folder and its files writable for this user",
    sqlite3.SQLITE_PERM: "make the folder and its files writable for this user",
    sqlite3.SQLITE_CANTOPEN: "see that the folder is there and writable for this user",
    sqlite3.SQLITE_BUSY: "another process held it all the time: end it",
    sqlite3.SQLITE_LOCKED: "another process held it all the time: end it",
}
_SYSTEM_ADVICE = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space: this user's share of the disk is used up",
    errno.EROFS: "make the folder and its files writable for this user",
    errno.EACCES: "make the folder and its files writable for this user",
    errno.EPERM: "make the folder and its files writable for this user",
    errno.ENOENT: "put the folder back, or run again, which makes a new one",
}
_DEFAULT = "see to the folder and its disk"


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn what comes from below into errors that say what to do.

    Raises:
        StoreUnavailableError: the store is out of reach for now.
        StoreCorruptedError: it is damaged.
    """
    try:
        yield
    except ReplacedError as error:
        raise StoreUnavailableError(f"{error}; run again") from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise StoreCorruptedError(
                f"{folder}: the response store's database is damaged: {error}; save what can be read of it with "
                "'ants cache repair' or a run in mode record, or restore it from a copy or a cassette"
            ) from error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be used: {error}; {_ADVICE.get(code, _DEFAULT)}, then run again"
        ) from error
    except (RefusedRowError, DamagedEntryError, NewerEntryError) as error:
        raise StoreCorruptedError(f"{folder}: the response store holds what was not written here: {error}") from error
    except OSError as error:
        advice = _SYSTEM_ADVICE.get(error.errno or 0, _DEFAULT)
        raise StoreUnavailableError(
            f"{folder}: the response store cannot be used: {error.strerror or error}; {advice}, then run again"
        ) from error
