"""A look at SQLite's write-ahead log: where it is damaged, SQLite takes its rest for never written, in silence."""

import os
from collections.abc import Iterator
from functools import cache
from operator import mul
from pathlib import Path
from struct import unpack

_MAGIC = (0x377F0682, 0x377F0683)
_HEADER, _FRAME_HEADER = 32, 24
_MAX_BYTES = 64 * 2**20
"""Only so much of it is looked at; SQLite folds a log back at 4 MiB."""
_WORD = 2**32 - 1

Sums = tuple[int, int]


def is_damaged(log: Path) -> bool:
    """Tell whether a log has lost committed pages: its header is garbage, or a sound frame follows a damaged one.

    A last frame that is not whole is no damage: a process was killed while it wrote, and nothing was committed. The
    file is only read, and may be in use.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with log.open("rb") as file:
            # One who writes may have been half way.
            return _looks_damaged(_read(file.fileno())) and _looks_damaged(_read(file.fileno()))
    except FileNotFoundError:
        return False


def _read(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    parts = []
    left = _MAX_BYTES
    while left and (part := os.read(file, min(left, 2**20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _looks_damaged(data: bytes) -> bool:
    if len(data) <= _HEADER + _FRAME_HEADER:
        return False
    magic, _, page_size, _, salts, *_ = unpack(">IIII8sII", data[:_HEADER])
    little = magic == _MAGIC[0]
    if magic not in _MAGIC or not 512 <= page_size <= 65_536:
        # A file that was made longer and not filled yet has no header and no content.
        return any(data)
    sums = _sums(data[:24], (0, 0), little=little)
    if sums != unpack(">II", data[24:32]):
        return True
    broken = False
    for frame in _frames(data, page_size):
        if frame[8:16] != salts:
            return False
        if broken:
            # Only a commit behind the break proves a loss: what a rolled back or killed transaction left has the same
            # salts, and is no damage.
            if frame[4:8] != bytes(4):
                return True
            continue
        sums = _sums(frame[:8] + frame[_FRAME_HEADER:], sums, little=little)
        broken = sums != unpack(">II", frame[16:24])
    return False


def _frames(data: bytes, page_size: int) -> Iterator[bytes]:
    size = _FRAME_HEADER + page_size
    for start in range(_HEADER, len(data) - size + 1, size):
        yield data[start : start + size]


def _sums(data: bytes, sums: Sums, *, little: bool) -> Sums:
    """Go on with SQLite's checksum: each word is added to the sum of the last two totals, modulo 2**32."""
    words = (sums[0], (sums[1] - sums[0]) & _WORD, *unpack(f"{'<' if little else '>'}{len(data) // 4}I", data))
    weights = _weights(len(words))
    # The totals are sums of the words weighed by Fibonacci numbers, which map and sum find much faster than a loop.
    first = sum(map(mul, words[:-1], weights[1:])) & _WORD
    return first, sum(map(mul, words, weights)) & _WORD


@cache
def _weights(count: int) -> tuple[int, ...]:
    one, other = 1, 1
    found = []
    for _ in range(count):
        found.append(one)
        one, other = other, (one + other) & _WORD
    return tuple(reversed(found))
