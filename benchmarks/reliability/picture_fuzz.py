"""Pictures damaged by a seed: bytes, lengths, ends, and parts of one file in another."""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

Mutation = Callable[[bytearray, random.Random, list[bytes]], None]

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def sound_pictures() -> dict[str, bytes]:
    """Return one file of every kind and flavour that is damaged."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (24, 40, 3), dtype=np.uint8))
    smooth = Image.radial_gradient("L").resize((96, 64)).convert("RGB")
    deep = Image.fromarray(rng.integers(0, 65536, (24, 40), dtype=np.uint16))
    clear = small.convert("RGBA")
    clear.putalpha(120)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    frames: dict[str, Any] = {"save_all": True, "append_images": [smooth.resize((40, 24)), small], "duration": 40}
    flavours: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
        "png": ("PNG", smooth, {"exif": exif}),
        "png palette": ("PNG", small.quantize(16), {"transparency": 3}),
        "png 16 bit": ("PNG", deep, {}),
        "png alpha": ("PNG", clear, {"icc_profile": bytes(200)}),
        "jpeg": ("JPEG", smooth, {"exif": exif, "comment": b"a comment"}),
        "jpeg progressive": ("JPEG", smooth, {"progressive": True}),
        "jpeg cmyk": ("JPEG", smooth.convert("CMYK"), {}),
        "gif": ("GIF", small.quantize(32), {"transparency": 1}),
        "gif frames": ("GIF", small, frames),
        "webp": ("WEBP", smooth, {"exif": exif}),
        "webp lossless": ("WEBP", clear, {"lossless": True}),
        "webp frames": ("WEBP", small, frames),
        "tiff": ("TIFF", small, {}),
        "tiff lzw": ("TIFF", small, {"compression": "tiff_lzw"}),
        "tiff deflate": ("TIFF", deep, {"compression": "tiff_adobe_deflate"}),
        "tiff jpeg": ("TIFF", smooth, {"compression": "jpeg"}),
        "tiff fax": ("TIFF", small.convert("1"), {"compression": "group4"}),
        "bmp": ("BMP", small, {}),
        "bmp palette": ("BMP", small.quantize(8), {}),
    }
    made = {}
    for name, (kind, image, options) in flavours.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made[name] = buffer.getvalue()
    return made


def damaged_picture(seed: int, sound: dict[str, bytes]) -> tuple[str, bytes]:
    """Return a kind's name and a damaged file of it, the same for the same seed."""
    rng = random.Random(seed)
    name = sorted(sound)[seed % len(sound)]
    data = bytearray(sound[name])
    others = list(sound.values())
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if data:
            rng.choice(MUTATIONS)(data, rng, others)
    return name, bytes(data)


def _flip(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite_head(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    data[rng.randrange(min(96, len(data)))] = rng.randrange(256)


def _extreme_number(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    size = rng.choice((2, 4))
    at = rng.randrange(min(256, len(data))) if rng.random() < 0.7 else rng.randrange(len(data))
    data[at : at + size] = (rng.choice(_EXTREMES) & (256**size - 1)).to_bytes(size, rng.choice(("big", "little")))


def _cut(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 64)]


def _repeat(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 256)] * rng.choice((1, 2, 50))


def _splice(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    other = rng.choice(others)
    start, at = rng.randrange(len(other)), rng.randrange(len(data))
    data[at:at] = other[start : start + rng.randrange(1, 400)]


def _other_body(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    other = rng.choice(others)
    head = rng.choice((4, 8, 12, 16, 32, 64))
    data[head:] = other[head:]


def _noise(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at : at + 32] = rng.randbytes(rng.choice((1, 32, 500)))


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _overwrite_head, _extreme_number, _extreme_number, _cut, _drop, _repeat, _splice, _other_body, _noise,
)  # fmt: skip
