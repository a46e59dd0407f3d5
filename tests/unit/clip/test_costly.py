"""Files that are small and cost much: found by their structure, quickly; and files that only look like it."""

import io
import struct
import time
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.formats import MAX_PARTS, MAX_SCANS, excess
from ants_engine.errors import ImageTooLargeError, ImageUnreadableError
from ants_engine.settings.config import ImageSettings

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def load(data: bytes) -> Image.Image:
    return load_rgb(data, name="p", limits=ImageSettings())


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    pixels = zlib.compress(b"\0" * 4 * (1 + 3 * 4))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(order: str, fields: list[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(f"{order}HHII", *field) for field in fields)
    return head + struct.pack(f"{order}IH", 8, len(fields)) + body + struct.pack(f"{order}I", 0) + rest


def big_tiff(fields: list[tuple[int, int, int, int]], rest: bytes) -> bytes:
    body = b"".join(struct.pack("<HHQQ", *field) for field in fields)
    return b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(fields)) + body + struct.pack("<Q", 0) + rest


def test_a_small_tiff_of_one_large_tile() -> None:
    content = zlib.compress(bytes(4096 * 4096))
    fields = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    fields += [(322, 4, 1, 4096), (323, 4, 1, 4096), (324, 4, 1, 134), (325, 4, 1, len(content))]
    data = tiff("<", fields, content)
    assert data.index(content) == 134
    admitted: list[int] = []
    picture = load_rgb(data, name="p", limits=ImageSettings(), admit=admitted.append)
    assert (picture.size, admitted) == ((10, 10), [4096 * 4096])
    with pytest.raises(ImageTooLargeError, match="a tile of 16,777,216 pixels"):
        load_rgb(data, name="p", limits=ImageSettings(max_pixels=1_000_000))


def test_a_jpeg_of_many_scans() -> None:
    data = encoded(NOISE, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert load(data).size == NOISE.size
    many = data[:-2] + data[last:-2] * 150 + data[-2:]
    with pytest.raises(ImageTooLargeError, match=f"scans; at most {MAX_SCANS}"):
        load(many)
    few = data[:-2] + data[last:-2] * 50 + data[-2:]
    assert load(few).size == NOISE.size


def test_marks_that_are_no_scans_do_not_count() -> None:
    data = encoded(NOISE, "JPEG", comment=b"\xff\xda" * 500)
    assert load(data).size == NOISE.size
    # another picture behind the first
    assert excess(data + b"\xff\xda" * 500) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_millions_of_strips(order: str) -> None:
    count = MAX_PARTS + 1
    fields = [(256, 4, 1, 1000), (257, 4, 1, 1000), (273, 4, count, 122), (278, 4, 1, 1)]
    started = time.process_time()
    with pytest.raises(ImageTooLargeError, match=f"field of {count:,} numbers"):
        load(tiff(order, fields, bytes(4 * count)))
    assert time.process_time() - started < 1
    with pytest.raises(ImageTooLargeError, match="numbers"):
        load(big_tiff(fields, bytes(4 * count)))


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}, {"exif": b""}])
def test_sound_tiffs_are_read(options: dict[str, Any]) -> None:
    tall = Image.new("RGB", (3, 30_000), (1, 2, 3))
    assert load(encoded(tall, "TIFF", **options)).size == tall.size
    profile = encoded(NOISE, "TIFF", icc_profile=bytes(300_000), **options)
    assert load(profile).size == NOISE.size


@pytest.mark.parametrize(
    "data", [b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II+\0" + b"\xff" * 40, b"\xff\xd8"]
)
def test_damaged_structures_are_the_decoders_affair(data: bytes) -> None:
    assert excess(data) is None
    with pytest.raises(ImageUnreadableError):
        load(data)


BOMB = zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"zTXt", b"k\0\0" + BOMB)],
        [(b"iTXt", b"k\0\1\0\0\0" + BOMB)],
        [(b"iCCP", b"k\0\0" + BOMB)],
        [(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(1_000_000))) for i in range(100)],
    ],
)
def test_what_unpacks_beside_the_pixels_is_bounded(chunks: list[tuple[bytes, bytes]]) -> None:
    data = png(*chunks)
    tracemalloc.start()
    assert load(data).size == (4, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data) + 4 * 2**20


def test_a_huge_exif_block_is_not_unpacked() -> None:
    exif = tiff("<", [(0x0112, 4, 500_000, 26)], bytes(2_000_000))
    assert load(png((b"eXIf", exif))).size == (4, 4)
    turned = tiff("<", [(0x0112, 3, 1, 6)])
    assert load(png((b"eXIf", turned))).size == (4, 4)


GIF_FRAME = b"\x02\x02\x44\x01\x00;"


@pytest.mark.parametrize(("screen", "frame"), [((1, 1), (65_535, 65_535)), ((65_535, 65_535), (1, 1))])
def test_a_gif_of_a_huge_frame_or_screen(screen: tuple[int, int], frame: tuple[int, int]) -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    with pytest.raises(ImageTooLargeError):
        load(head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + GIF_FRAME)


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "EPS", "PDF", "SGI", "MSP", "SPIDER", "DDS"])
def test_obscure_kinds_are_switched_off(kind: str) -> None:
    image = {"SPIDER": "F", "MSP": "1"}.get(kind)
    data = encoded(NOISE.resize((32, 32)).convert(image) if image else NOISE.resize((32, 32)), kind)
    with pytest.raises(ImageUnreadableError):
        load(data)


@pytest.mark.parametrize(
    "data",
    [
        b"8BPS\0\1" + bytes(40),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"\xd7\xcd\xc6\x9a" + bytes(40),
        b"%PDF-1.4\n" + encoded(NOISE, "PNG"),
        b"<html>" + encoded(NOISE, "JPEG"),
        b"PK\x03\x04" + encoded(NOISE, "GIF"),
    ],
)
def test_a_picture_inside_something_else_is_none(data: bytes) -> None:
    with pytest.raises(ImageUnreadableError, match="known kind"):
        load(data)


def test_a_picture_with_something_behind_it_is_that_picture() -> None:
    for kind in ("PNG", "GIF", "JPEG"):
        assert load(encoded(NOISE, kind) + b"<script>%PDF-1.4 PK\x03\x04").size == NOISE.size


def test_an_eps_that_its_user_opened_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr("subprocess.Popen", lambda *command, **_: started.append(command))
    with Image.open(io.BytesIO(encoded(NOISE, "EPS"))) as image, pytest.raises(ImageUnreadableError, match="program"):
        load_rgb(image, name="p", limits=ImageSettings())
    assert not started
