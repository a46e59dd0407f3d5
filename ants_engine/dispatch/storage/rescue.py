"""A file for answers that the response store cannot take: nothing that was paid for is lost."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.cassette import cassette_of
from ants_engine.dispatch.storage.entry import Entry
from ants_engine.errors import StoreUnavailableError


async def rescue(entries: Iterable[Entry], near: Path, models: Iterable[RecordedIdentity] = ()) -> Path:
    """Write answers to a cassette of their own, which ``ants cache import`` reads.

    Args:
        entries: what to keep.
        near: the store's folder. The file lies beside it, or, where nothing can be written, in the temporary folder.
        models: the models that were asked.

    Returns:
        The file. Only its owner can read it, and no other file is touched.

    Raises:
        StoreUnavailableError: it can be written in neither place.
    """
    return await asyncio.to_thread(_rescue, list(entries), near, list(models))


def _rescue(entries: Sequence[Entry], near: Path, models: Sequence[RecordedIdentity]) -> Path:
    near = near.absolute()
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{near.name or 'store'}-rescued-{moment}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
    data = cassette_of(entries, models)
    failed = []
    # Where the store's folder is gone its parent may be gone as well.
    for folder in (near.parent, Path(tempfile.gettempdir())):
        path = folder / name
        try:
            _write(path, data)
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
        else:
            return path
    raise StoreUnavailableError(f"{len(entries)} answers cannot be written to a rescue file: {'; '.join(failed)}")


def _write(path: Path, data: bytes) -> None:
    # The temporary folder is everybody's: the file is its owner's from the start, and follows no link.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
