"""Our PNG: what any reader gives back of it, and that it is packed."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ants_engine.clip.picture import png_bytes


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (47, 30), (448, 336)])
def test_the_samples_come_back(size: tuple[int, int]) -> None:
    image = noise(*size)
    with Image.open(io.BytesIO(png_bytes(image))) as again:
        assert (again.format, again.mode, again.size, again.info) == ("PNG", "RGB", size, {})
        assert again.tobytes() == image.tobytes()


def test_every_chunk_has_its_checksum() -> None:
    data, at, kinds = png_bytes(noise(9, 5)), 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kinds.append(data[at + 4 : at + 8])
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        assert crc == zlib.crc32(data[at + 4 : at + 8 + length])
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_smooth_and_flat_pictures_are_packed() -> None:
    smooth, flat = Image.radial_gradient("L").convert("RGB"), Image.new("RGB", (448, 336), (9, 99, 199))
    assert len(png_bytes(smooth)) < len(smooth.tobytes()) / 5
    assert len(png_bytes(flat)) < len(flat.tobytes()) / 100


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        png_bytes(Image.new(mode, (2, 2)))
