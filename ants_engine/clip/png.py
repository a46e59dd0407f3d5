"""PNG without metadata: written, and read.

Pictures for the MLLM are encoded beside CLIP and must not slow it down; a picture that is read must not be refused for
the length of its texts.
"""

import struct
import zlib

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEFT = 1
_METADATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_TURNING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts that may say which way is up."""
_MAX_TEXT = 1 << 20
"""Bytes of a text, unpacked; Pillow refuses the whole picture for a longer one."""


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture of mode ``RGB`` as PNG, without loss and with nothing but its samples.

    Every row is stored as differences to the left neighbour, and only runs are looked for. Beside Pillow's encoder,
    which `python -m benchmarks.picture_pipeline` times, photos become about as large; drawings in which larger parts
    repeat become two or three times as large.

    Raises:
        ValueError: the picture is of another mode.
    """
    if image.mode != "RGB":
        raise ValueError(f"an RGB picture is expected, not {image.mode}")
    samples = np.asarray(image)
    height, width, _ = samples.shape
    rows = samples.reshape(height, width * 3)
    filtered = np.empty((height, 1 + width * 3), np.uint8)
    filtered[:, 0] = _LEFT
    filtered[:, 1:4] = rows[:, :3]
    np.subtract(rows[:, 3:], rows[:, :-3], out=filtered[:, 4:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    packed = packer.compress(filtered.tobytes()) + packer.flush()
    # 8 bits per sample, colour, and the only methods there are; not interlaced
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def without_long_texts(data: bytes) -> bytes:
    """Leave out of a PNG file the chunks that say nothing about its samples and may be long: texts, colour profiles.

    Kept is what may say which way is up, once, if it is shorter than 1 MiB unpacked. Nothing is unpacked beyond that.

    Args:
        data: a whole file. What is no PNG, or is damaged from some place on, is given back as it is from there on.
    """
    if not data.startswith(_SIGNATURE):
        return data
    at, kept, start = len(_SIGNATURE), [], 0
    turning: set[bytes] = set()
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if end > len(data):
            break
        if kind in _METADATA:
            keyword = data[at + 8 : at + 88].partition(b"\0")[0]
            if keyword in turning or not _is_short_turning(kind, data[at + 8 : end - 4]):
                kept.append(data[start:at])
                start = end
            else:
                turning.add(keyword)
        at = end
    return b"".join([*kept, data[start:]]) if kept else data


def _is_short_turning(kind: bytes, body: bytes) -> bool:
    if kind == b"iCCP" or not body.startswith(_TURNING) or len(body) > _MAX_TEXT:
        return False
    rest = body[body.index(b"\0") + 1 :]
    if kind == b"iTXt":
        # flag and method of compression, language, keyword in that language
        if rest[:1] != b"\1":
            return True
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif kind == b"zTXt":
        rest = rest[1:]
    else:
        return True
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(rest, _MAX_TEXT)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
