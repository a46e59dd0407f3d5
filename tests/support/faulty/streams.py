"""Answers that are not written in one go: too slow, too long, or cut off."""

import asyncio
import socket
import struct
import zlib
from contextlib import suppress
from functools import cache

from .http import head

GIGABYTE = 2**30
_CHUNK = 2**16
_ANSWER = b'{"choices": [{"message": {"content": "'


class HungUpError(Exception):
    """The connection is of no further use."""


async def hang(reader: asyncio.StreamReader, seconds: float) -> None:
    """Say nothing until the client hangs up, or for so long."""
    with suppress(TimeoutError):
        await asyncio.wait_for(reader.read(1), seconds)
    raise HungUpError


async def reset(writer: asyncio.StreamWriter, sent: bytes = b"") -> None:
    """Cut the connection with a reset, after these bytes."""
    writer.write(sent)
    await writer.drain()
    # Linger zero makes the close a reset.
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise HungUpError


async def short(writer: asyncio.StreamWriter, sent: bytes) -> None:
    """Close in an orderly way, with a part of the body missing."""
    writer.write(sent)
    await writer.drain()
    raise HungUpError


async def drip(writer: asyncio.StreamWriter, sent: bytes, pause: float) -> None:
    """Send the head, and then a byte at a time."""
    start = sent.index(b"\r\n\r\n") + 4
    writer.write(sent[:start])
    for at in range(start, len(sent)):
        writer.write(sent[at : at + 1])
        await writer.drain()
        await asyncio.sleep(pause)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send an answer of a gigabyte, in chunks."""
    start = head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    await _pour(writer, _chunk(b"a" * _CHUNK), start + _chunk(_ANSWER))


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Send a gigabyte of header lines."""
    await _pour(writer, b"".join(b"X-%05d: %s\r\n" % (n, b"a" * 50) for n in range(1000)), b"HTTP/1.1 200 OK\r\n")


async def endless_interim(writer: asyncio.StreamWriter) -> None:
    """Say over and over that the answer is on its way."""
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.005)


async def bomb(writer: asyncio.StreamWriter) -> None:
    """Send a megabyte that unpacks to a gigabyte, whatever encodings the client takes."""
    start, block = _packed()
    writer.write(head(200, {"Content-Type": "application/json", "Content-Encoding": "gzip", "Connection": "close"}))
    await _pour(writer, block, start, total=GIGABYTE // 2**20 * len(block))
    raise HungUpError


async def _pour(writer: asyncio.StreamWriter, block: bytes, start: bytes, total: int = GIGABYTE) -> None:
    writer.write(start)
    for _ in range(total // len(block)):
        writer.write(block)
        await writer.drain()
    raise HungUpError


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@cache
def _packed() -> tuple[bytes, bytes]:
    packer = zlib.compressobj(wbits=31)
    # After a full flush a block stands alone, so that it can be repeated.
    start = packer.compress(_ANSWER) + packer.flush(zlib.Z_FULL_FLUSH)
    return start, packer.compress(b"a" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
