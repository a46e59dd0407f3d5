"""A store as a file to read, keep and share: the lines of its journal, one per answer, in a stable order."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from ants_engine.common.atomic_file import write_whole
from ants_engine.common.canonical_json import readable
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import MAX_LINE_BYTES, Entry, is_sealed, parse
from ants_engine.dispatch.storage.journal import FORMAT, VERSION
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import CassetteError, StoreUnavailableError

_JOURNAL_HEADER, _HEADER = {"format", "version", "id"}, {"format", "version", "count", "models"}


async def export(store: ResponseStore, path: Path) -> int:
    """Write a store's content into a file, which is replaced as a whole or not at all.

    The order is by task, then key, so that equal stores make equal files. It holds no pictures, only their digests.

    Returns:
        The number of entries.

    Raises:
        StoreError: the store cannot be read, or is damaged.
        CassetteError: the file cannot be written.
    """
    models = await store.get_identities()
    lines: dict[str, list[bytes]] = {}
    async for entry in store.entries():
        lines.setdefault(entry.request.task, []).append(replace(entry, stored_at=None).to_line())
    ordered = [line for task in sorted(lines) for line in lines[task]]
    try:
        await asyncio.to_thread(write_whole, path, [_header(len(ordered), models), *ordered])
    except OSError as error:
        raise CassetteError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(ordered)


async def import_(path: Path, store: ResponseStore) -> int:
    """Put a file's content into a store, or nothing if any of it is wrong.

    An answer of the file replaces the store's for the same request; a failure replaces no answer. The file may be a
    journal, whose last line is ignored if it was cut off.

    Returns:
        The number of entries.

    Raises:
        CassetteError: the file cannot be read, is cut off, malformed or altered; the line is named.
        StoreError: the store cannot be written.
    """
    models: list[RecordedIdentity] = []
    return await store.put_all(_read(path, models), models)


async def rescue(entries: Iterable[Entry], near: Path, models: Iterable[RecordedIdentity] = ()) -> Path:
    """Write answers that the store cannot take to a cassette of their own, for ``ants store import``.

    Args:
        entries: what to keep.
        near: the store's folder. The file is put beside it, or, where that cannot be written, in the temporary folder.
        models: the models that were asked.

    Returns:
        The file. Only its owner can read it, and no existing file is touched.

    Raises:
        StoreUnavailableError: neither place can be written.
    """
    return await asyncio.to_thread(_rescue, list(entries), near, list(models))


def _rescue(entries: Sequence[Entry], near: Path, models: Sequence[RecordedIdentity]) -> Path:
    near = near.absolute()
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{near.name or 'store'}-rescued-{moment}-{secrets.token_hex(6)}.jsonl"
    lines = [_header(len(entries), models), *(entry.to_line() for entry in entries)]
    failed = []
    # where the store's folder is gone its parent may be gone as well
    for folder in (near.parent, Path(tempfile.gettempdir())):
        path = folder / name
        try:
            # others can read the temporary folder
            write_whole(path, lines, mode=0o600)
        except OSError as error:
            failed.append(f"{path}: {error.strerror or error}")
        else:
            return path
    raise StoreUnavailableError(f"{len(entries)} answers cannot be written to a rescue file: {'; '.join(failed)}")


def _header(count: int, models: Iterable[RecordedIdentity]) -> bytes:
    header = {"format": FORMAT, "version": VERSION, "count": count, "models": [each.parts() for each in models]}
    return readable(header).encode("utf-8") + b"\n"


def _read(path: Path, models: list[RecordedIdentity]) -> Iterator[Entry]:
    """Verify every line, yield the entries, and collect the models."""
    number = 1
    try:
        with path.open("rb") as stream:
            count = _read_header(_next_line(stream), models)
            while count is None or number <= count:
                number += 1
                line = _next_line(stream, may_end=count is None)
                if not line:
                    return
                yield from _read_line(line, models)
            if stream.read(1):
                raise CassetteError(f"{path}, line {number + 1}: more lines than the {count} that line 1 announces")
    except OSError as error:
        raise CassetteError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CassetteError(f"{path}, line {number}: {error}") from error


def _next_line(stream: IO[bytes], *, may_end: bool = False) -> bytes:
    data = stream.readline(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
    if data.endswith(b"\n"):
        return data
    if may_end:
        return b""
    raise ValueError("the file is cut off here; export it again")


def _read_header(line: bytes, models: list[RecordedIdentity]) -> int | None:
    """Return how many entries follow; None for a journal, which does not say."""
    header = parse(line)
    if header.get("format") != FORMAT:
        raise ValueError(f"not a cassette (no format {FORMAT!r})")
    if header.get("version") not in range(1, VERSION + 1):
        raise ValueError(f"this version of ants_engine reads cassettes of the versions 1 to {VERSION} only")
    if header.keys() == _JOURNAL_HEADER:
        return None
    count, listed = header.get("count"), header.get("models")
    if header.keys() != _HEADER or type(count) is not int or count < 0 or not isinstance(listed, list):
        raise ValueError(f"its fields must be {', '.join(sorted(_HEADER))}")
    models.extend(RecordedIdentity.from_parts(each) for each in listed)
    return count


def _read_line(line: bytes, models: list[RecordedIdentity]) -> Iterator[Entry]:
    parts = parse(line)
    checksum, key, stored_at = (parts.pop(name, None) for name in ("checksum", "key", "stored_at"))
    entry = None
    if parts.keys() == {"model"}:
        models.append(RecordedIdentity.from_parts(parts["model"]))
    else:
        entry = Entry.from_parts(parts, stored_at if isinstance(stored_at, float) else None)
        if entry.request.key != key:
            raise ValueError("the key does not belong to the request; one of them was altered")
    # version 1 had no checksums, and a cassette written by hand needs none
    if checksum is not None and not is_sealed(line):
        raise ValueError("its checksum does not fit; it was altered")
    if entry is not None:
        yield entry
