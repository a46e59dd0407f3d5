"""Reads rows from a SQLite file page by page, whatever else in it is damaged. SQLite itself does not open it.

The format is the one of https://www.sqlite.org/fileformat2.html. Every row that is found is a claim, to be verified by
its checksum: pages that are out of use may hold earlier versions of a row.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

MAX_ROW_BYTES = 4_300_000
"""A longer row was not written here."""
_MAGIC = b"SQLite format 3\0"
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_LEAF = 0x0D
_INTEGER_SIZES = (0, 1, 2, 3, 4, 6, 8)
_FRAME_HEADER, _LOG_HEADER = 24, 32

Value = int | float | str | bytes | None


def read_rows(database: Path, columns: int) -> Iterator[tuple[Value, ...]]:
    """Give every row of so many columns that a leaf page of the file, or of the log beside it, holds.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as stack:
        main, log = (
            stack.enter_context(path.open("rb")) if path.exists() else None
            for path in (database, database.with_name(f"{database.name}-wal"))
        )
        pages = _Pages(main, log)
        for page in pages.leaves():
            for payload in _payloads(page, pages):
                row = _row(payload, columns)
                if row is not None:
                    yield row


class _Pages:
    """The pages of a file and its log."""

    def __init__(self, main: BinaryIO | None, log: BinaryIO | None) -> None:
        self._main, self._log = main, log
        self.size = _page_size(main)
        self._frames = list(self._find_frames())
        self._latest = dict(self._frames)

    def leaves(self) -> Iterator[bytes]:
        """Give the pages that may hold rows."""
        for number, offset in self._frames:
            if number != 1:
                yield from self._leaf(self._log, offset)
        count = 0 if self._main is None else _length(self._main) // self.size
        # The first page holds the schema.
        for at in range(1, count):
            yield from self._leaf(self._main, at * self.size)

    def __getitem__(self, number: int) -> bytes:
        """Give a page by its number, from 1; empty if there is none."""
        if number in self._latest:
            return _read(self._log, self._latest[number], self.size)
        return _read(self._main, (number - 1) * self.size, self.size)

    def _leaf(self, file: BinaryIO | None, offset: int) -> Iterator[bytes]:
        page = _read(file, offset, self.size)
        if len(page) == self.size and page[0] == _LEAF:
            yield page

    def _find_frames(self) -> Iterator[tuple[int, int]]:
        """Give page number and offset of each frame; with a sound header, those of the log's present generation."""
        if self._log is None:
            return
        header = _read(self._log, 0, _LOG_HEADER)
        sound = len(header) == _LOG_HEADER and int.from_bytes(header[:4], "big") in _LOG_MAGIC
        for offset in range(_LOG_HEADER, _length(self._log), _FRAME_HEADER + self.size):
            frame = _read(self._log, offset, _FRAME_HEADER)
            if len(frame) == _FRAME_HEADER and (not sound or frame[8:16] == header[16:24]):
                yield int.from_bytes(frame[:4], "big"), offset + _FRAME_HEADER


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _read(file: BinaryIO | None, offset: int, size: int) -> bytes:
    if file is None or offset < 0:
        return b""
    file.seek(offset)
    return file.read(size)


def _page_size(main: BinaryIO | None) -> int:
    header = _read(main, 0, 18)
    found = int.from_bytes(header[16:18], "big")
    # 1 stands for 65,536; what is no power of two is damage, and 4,096 what SQLite takes by itself.
    found = 65_536 if found == 1 else found
    return found if header[:16] == _MAGIC and 512 <= found <= 65_536 and found.bit_count() == 1 else 4096


def _payloads(page: bytes, pages: _Pages) -> Iterator[bytes]:
    cells = int.from_bytes(page[3:5], "big")
    for at in range(8, min(8 + 2 * cells, len(page) - 1), 2):
        start = int.from_bytes(page[at : at + 2], "big")
        length, start = _varint(page, start)
        _, start = _varint(page, start)
        if 0 < length <= MAX_ROW_BYTES and start < len(page):
            payload = _whole(page, start, length, pages)
            if payload is not None:
                yield payload


def _whole(page: bytes, start: int, length: int, pages: _Pages) -> bytes | None:
    """Put a payload together with what overflows to other pages."""
    usable = pages.size
    most = usable - 35
    if length <= most:
        return page[start : start + length]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (length - least) % (usable - 4)
    local = local if local <= most else least
    parts = [page[start : start + local]]
    following = int.from_bytes(page[start + local : start + local + 4], "big")
    missing = length - local
    while missing > 0:
        more = pages[following]
        if following == 0 or len(more) < usable:
            return None
        parts.append(more[4 : 4 + missing])
        following = int.from_bytes(more[:4], "big")
        missing -= usable - 4
    return b"".join(parts)


def _row(payload: bytes, columns: int) -> tuple[Value, ...] | None:
    end, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < min(end, len(payload)) and len(kinds) <= columns:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if len(kinds) != columns or at != end:
        return None
    values: list[Value] = []
    for kind in kinds:
        size = _size(kind)
        values.append(_value(kind, payload[at : at + size]))
        at += size
    return tuple(values) if at == len(payload) else None


def _size(kind: int) -> int:
    if kind <= 6:
        return _INTEGER_SIZES[kind]
    if kind == 7:
        return 8
    return (kind - 12) // 2 if kind >= 12 else 0


def _value(kind: int, data: bytes) -> Value:
    if kind == 0 or kind in {10, 11}:
        return None
    if kind <= 6:
        return int.from_bytes(data, "big", signed=True)
    if kind == 7:
        found: float = struct.unpack(">d", data)[0] if len(data) == 8 else 0.0
        return found
    if kind in {8, 9}:
        return kind - 8
    return data.decode("utf-8", "surrogateescape") if kind % 2 else data


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; beyond the end it is 0."""
    value = 0
    for place in range(9):
        if at >= len(data):
            return 0, at
        byte = data[at]
        at += 1
        if place == 8:
            return (value << 8) | byte, at
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at
    return value, at
