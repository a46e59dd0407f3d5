"""A store as a file to read, keep and share: the lines of its journal, one per answer, in a stable order."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ants_engine.common.atomic_file import write_whole
from ants_engine.common.canonical_json import readable
from ants_engine.dispatch.request import RecordedIdentity
from ants_engine.dispatch.storage.entry import MAX_LINE_BYTES, DamagedLineError, Entry, is_sealed, parse
from ants_engine.dispatch.storage.journal import FORMAT, VERSION
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import CassetteError, StoreUnavailableError

_JOURNAL_HEADER, _HEADER = {"format", "version", "id"}, {"format", "version", "count", "models"}


async def export(store: ResponseStore, path: Path) -> int:
    """Write all that a store holds into a file, which is replaced as a whole or not at all.

    The order is by task, then key, so that equal stores make equal files. There are no pictures in it, only their
    digests.

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
    """Put all that a file holds into a store, or, if any of it is wrong, nothing.

    An answer of the file replaces the store's for the same request; a failure replaces no answer. A journal can be
    imported too; there, a last line that was cut off counts as not written.

    Returns:
        The number of entries.

    Raises:
        CassetteError: the file cannot be read, is cut off, malformed or altered; the line is named.
        StoreError: the store cannot be written.
    """
    models: list[RecordedIdentity] = []
    return await store.put_all(_read(path, models), models)


async def rescue(entries: Iterable[Entry], near: Path, models: Iterable[RecordedIdentity] = ()) -> Path:
    """Write answers that no store can take to a cassette of their own, which ``ants cache import`` reads.

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
    name = f"{near.name or 'store'}-rescued-{moment}-{secrets.token_hex(6)}.jsonl"
    lines = [_header(len(entries), models), *(entry.to_line() for entry in entries)]
    failed = []
    # where the store's folder is gone its parent may be gone as well
    for folder in (near.parent, Path(tempfile.gettempdir())):
        path = folder / name
        try:
            # the temporary folder is everybody's
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
    """Yield the entries, and collect the models, checking every line."""
    try:
        with path.open("rb") as stream:
            first = _next_line(stream, path, 1)
            count = _read_header(path, _parse(first, path, 1), models)
            number = 1
            while count is None or number <= count:
                number += 1
                line = _next_line(stream, path, number, may_end=count is None)
                if not line:
                    return
                yield from _read_line(path, number, line, models)
            if stream.read(1):
                raise CassetteError(f"{path}, line {number + 1}: more lines than the {count} that line 1 announces")
    except OSError as error:
        raise CassetteError(f"{path}: cannot be read: {error.strerror or error}") from error


def _next_line(stream: IO[bytes], path: Path, number: int, *, may_end: bool = False) -> bytes:
    data = stream.readline(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise CassetteError(f"{path}, line {number}: longer than {MAX_LINE_BYTES:,} bytes")
    if data.endswith(b"\n"):
        return data
    if may_end:
        return b""
    raise CassetteError(f"{path}, line {number}: the file is cut off here; export it again")


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        return parse(line)
    except DamagedLineError as error:
        raise CassetteError(f"{path}, line {number}: {error}") from error


def _read_header(path: Path, header: dict[str, Any], models: list[RecordedIdentity]) -> int | None:
    """Return how many entries follow; None of a journal, which does not know."""
    if header.get("format") != FORMAT:
        raise CassetteError(f"{path}, line 1: not a cassette (no format {FORMAT!r})")
    if header.get("version") not in range(1, VERSION + 1):
        raise CassetteError(
            f"{path}, line 1: this version of ants_engine reads cassettes of the versions 1 to {VERSION} only"
        )
    if header.keys() == _JOURNAL_HEADER:
        return None
    count, listed = header.get("count"), header.get("models")
    if header.keys() != _HEADER or type(count) is not int or count < 0 or not isinstance(listed, list):
        raise CassetteError(f"{path}, line 1: its fields must be {', '.join(sorted(_HEADER))}")
    try:
        models.extend(RecordedIdentity.from_parts(each) for each in listed)
    except ValueError as error:
        raise CassetteError(f"{path}, line 1: {error}") from error
    return count


def _read_line(path: Path, number: int, line: bytes, models: list[RecordedIdentity]) -> Iterator[Entry]:
    parts = _parse(line, path, number)
    checksum, key, stored_at = (parts.pop(name, None) for name in ("checksum", "key", "stored_at"))
    entry = None
    try:
        if parts.keys() == {"model"}:
            models.append(RecordedIdentity.from_parts(parts["model"]))
        else:
            entry = Entry.from_parts(parts, stored_at if isinstance(stored_at, float) else None)
    except ValueError as error:
        raise CassetteError(f"{path}, line {number}: {error}") from error
    if entry is not None and entry.request.key != key:
        raise CassetteError(f"{path}, line {number}: the key does not belong to the request; one of them was altered")
    # version 1 had no checksums, and who writes a cassette by hand need not make any
    if checksum is not None and not is_sealed(line):
        raise CassetteError(f"{path}, line {number}: its checksum does not fit; it was altered")
    if entry is not None:
        yield entry
