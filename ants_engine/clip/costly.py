"""Pictures that cost far more to decode than their size and pixels say. Found by their structure, before decoding."""

import re
import struct
from collections.abc import Iterator

MAX_SCANS = 100
"""A JPEG's scans: each goes over all pixels again. A progressive photo has about ten."""
MAX_PARTS = 200_000
"""A TIFF's strips or tiles, and the numbers of any other field: each becomes an object."""

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, 0xD8, _END})
_TEXTS = frozenset({1, 2, 6, 7})
"""TIFF types that are kept as bytes, whatever their number."""


def excess(data: bytes) -> str | None:
    """Say what makes a picture's file too costly to decode; None where nothing does.

    Args:
        data: a whole file of any kind.
    """
    if data[:2] == b"\xff\xd8":
        # the first count is quick, and an upper bound
        scans = 0 if data.count(b"\xff\xda") <= MAX_SCANS else _scans(data)
        return f"has {scans:,} scans; at most {MAX_SCANS} are decoded" if scans > MAX_SCANS else None
    if data[:2] in (b"II", b"MM"):
        parts = max(_field_counts(data), default=0)
        if parts > MAX_PARTS:
            return f"has a field of {parts:,} numbers, such as strips or tiles; at most {MAX_PARTS:,} are read"
    return None


def _scans(data: bytes) -> int:
    """Count the scans of the first picture in a JPEG file."""
    at, scans = 2, 0
    while (found := _MARKER.search(data, at)) is not None and found[1][0] != _END:
        at = found.end()
        if found[1][0] in _BARE or len(data) < at + 2:
            continue
        scans += found[1][0] == _SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    return scans


def _field_counts(data: bytes) -> Iterator[int]:
    """Yield how many numbers each field of a TIFF's first directory says that it has."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
        entries = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)[0]
        first, step = (start + 8, 20) if big else (start + 2, 12)
        for number in range(min(entries, 65_535)):
            _, kind, count = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", data, first + number * step)
            # what does not fit into the file is skipped by the decoder
            if kind not in _TEXTS and count <= len(data):
                yield count
    except (struct.error, IndexError, OverflowError):
        # damaged: the decoder says how
        return
