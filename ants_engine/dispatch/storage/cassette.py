"""A store as a file to read, keep and share: JSON lines, one per answer, in a stable order."""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ants_engine.atomic_file import draft_of
from ants_engine.dispatch.canonical import readable
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.storage.entry import Entry
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import CassetteError, StoreCorruptedError

FORMAT = "ants-cassette"
VERSION = 1
MAX_LINE_BYTES = 1_048_576
"""A longer line was not written here."""
_HEADER = {"format", "version", "count", "models"}
_CHUNK = 200


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
    order = sorted([(entry.request.task, entry.request.key) async for entry in store.entries()])
    models = [each.parts() for each in await store.get_identities()]
    header = {"format": FORMAT, "version": VERSION, "count": len(order), "models": models}
    draft = draft_of(path)
    try:
        stream = await asyncio.to_thread(draft.open, "xb")
        try:
            with stream:
                await asyncio.to_thread(stream.write, _line(header))
                for start in range(0, len(order), _CHUNK):
                    lines = [await _entry_line(store, key) for _, key in order[start : start + _CHUNK]]
                    await asyncio.to_thread(stream.write, b"".join(lines))
                await asyncio.to_thread(_to_disk, stream)
            await asyncio.to_thread(_replace, draft, path)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()
    except OSError as error:
        raise CassetteError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(order)


def cassette_of(entries: Sequence[Entry], models: Sequence[RecordedIdentity] = ()) -> bytes:
    """Spell a cassette of these entries, in their order."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "count": len(entries),
        "models": [each.parts() for each in models],
    }
    lines = [_line({"key": entry.request.key, **entry.parts()}) for entry in entries]
    return b"".join([_line(header), *lines])


async def import_(path: Path, store: ResponseStore) -> int:
    """Put all that a file holds into a store, or, if any of it is wrong, nothing.

    An answer of the file replaces the store's for the same request; a failure replaces no answer.

    Returns:
        The number of entries.

    Raises:
        CassetteError: the file cannot be read, is cut off, malformed or altered; the line is named.
        StoreError: the store cannot be written.
    """
    models: list[RecordedIdentity] = []
    return await store.put_all(_read(path, models), models)


async def _entry_line(store: ResponseStore, key: str) -> bytes:
    entry = await store.get(key)
    if entry is None:
        raise StoreCorruptedError(f"{store.folder}: entry {key[:12]}… went away during the export; run it again")
    return _line({"key": key, **entry.parts()})


def _line(value: dict[str, Any]) -> bytes:
    return readable(value).encode("utf-8") + b"\n"


def _to_disk(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _replace(draft: Path, path: Path) -> None:
    draft.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path, models: list[RecordedIdentity]) -> Iterator[Entry]:
    """Yield the entries, and collect the models, checking every line."""
    try:
        with path.open("rb") as stream:
            expected = _read_header(path, _next_line(stream, path, 1), models)
            for number in range(2, expected + 2):
                yield _read_entry(path, number, _next_line(stream, path, number))
            if stream.read(1):
                raise CassetteError(
                    f"{path}, line {expected + 2}: more lines than the {expected} that line 1 announces"
                )
    except OSError as error:
        raise CassetteError(f"{path}: cannot be read: {error.strerror or error}") from error


def _next_line(stream: IO[bytes], path: Path, number: int) -> dict[str, Any]:
    data = stream.readline(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise CassetteError(f"{path}, line {number}: longer than {MAX_LINE_BYTES:,} bytes")
    if not data.endswith(b"\n"):
        raise CassetteError(f"{path}, line {number}: the file is cut off here; export it again")
    try:
        line = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CassetteError(f"{path}, line {number}: not JSON in UTF-8") from error
    if not isinstance(line, dict):
        raise CassetteError(f"{path}, line {number}: not a JSON object")
    return line


def _read_header(path: Path, header: dict[str, Any], models: list[RecordedIdentity]) -> int:
    if header.get("format") != FORMAT:
        raise CassetteError(f"{path}, line 1: not a cassette (no format {FORMAT!r})")
    if header.get("version") != VERSION:
        raise CassetteError(f"{path}, line 1: this version of ants_engine reads cassettes of version {VERSION} only")
    count, listed = header.get("count"), header.get("models")
    if header.keys() != _HEADER or type(count) is not int or count < 0 or not isinstance(listed, list):
        raise CassetteError(f"{path}, line 1: its fields must be {', '.join(sorted(_HEADER))}")
    try:
        models.extend(RecordedIdentity.from_parts(each) for each in listed)
    except ValueError as error:
        raise CassetteError(f"{path}, line 1: {error}") from error
    return count


def _read_entry(path: Path, number: int, line: dict[str, Any]) -> Entry:
    key = line.pop("key", None)
    try:
        entry = Entry.from_parts(line)
    except ValueError as error:
        raise CassetteError(f"{path}, line {number}: {error}") from error
    if entry.request.key != key:
        raise CassetteError(f"{path}, line {number}: the key does not belong to the request; one of them was altered")
    return entry
