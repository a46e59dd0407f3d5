"""Every odd kind of picture that people really have, and bytes that are none."""

import io
import math
import random
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ants_engine.clip.decode import load_rgb
from ants_engine.clip.formats import Plugin
from ants_engine.errors import (
    ImageError,
    ImageNotFoundError,
    ImageRefusedError,
    ImageTooLargeError,
    ImageUnreadableError,
)
from ants_engine.settings.config import ImageSettings

LIMITS = ImageSettings()
PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"


def load(source: Any, limits: ImageSettings = LIMITS) -> Image.Image:
    image = load_rgb(source, name="picture", limits=limits)
    assert image.mode == "RGB"
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left: Any, right: Any, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Image.Image:
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def close(image: Image.Image, at: tuple[int, int], colour: tuple[int, int, int], tolerance: int = 6) -> bool:
    found = np.asarray(image)[at[1], at[0]].astype(int)
    return bool((np.abs(found - np.array(colour)) <= tolerance).all())


RED, BLUE = (220, 30, 20), (20, 40, 210)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8))


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_every_way_to_give_a_picture_gives_the_same_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    samples = np.asarray(NOISE)
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), NOISE, samples):
        assert np.array_equal(np.asarray(load(source)), samples)


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "PCX", "QOI", "GIF", "WEBP", "AVIF", "JPEG", "JPEG2000"]
)
def test_common_formats(kind: str) -> None:
    image = load(encoded(halves(RED, BLUE, size=(48, 32)), kind))
    assert image.size == (48, 32)
    assert close(image, (6, 16), RED, 12)
    assert close(image, (42, 16), BLUE, 12)


def test_arrays() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert load(grey).size == (4, 3)
    assert np.array_equal(np.asarray(load(grey[..., None])), np.asarray(load(grey)))
    rgba = np.dstack([np.full((2, 2, 3), 10, np.uint8), np.array([[0, 255], [255, 255]], np.uint8)])
    assert load(rgba).getpixel((0, 0)) == (255, 255, 255)
    assert load(rgba).getpixel((1, 0)) == (10, 10, 10)
    # a view with gaps between its rows
    assert load(np.asarray(NOISE)[::2, ::-1]).size == (14, 5)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((3, 4, 5), np.uint8), "(3, 4, 5)"),
        (np.zeros((4, 4, 2), np.uint8), "(4, 4, 2)"),
        (np.zeros((1, 2, 4, 3), np.uint8), "(1, 2, 4, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros(4, np.uint8), "(4,)"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray[Any, Any], said: str) -> None:
    with pytest.raises(ImageUnreadableError) as caught:
        load(array)
    assert said in str(caught.value)


@pytest.mark.parametrize("thing", [None, 3, {"a": 1}, ("picture", 1), io.BytesIO(b"x")])
def test_things_that_are_no_pictures(thing: object) -> None:
    with pytest.raises(ImageUnreadableError, match=type(thing).__name__):
        load(thing)


def test_a_callers_picture_is_not_changed() -> None:
    for mode in ("RGB", "RGBA", "P", "L", "CMYK"):
        given = NOISE.convert(mode)
        given.info["comment"] = "mine"
        exif = given.getexif()
        exif[0x0112] = 6
        before = given.tobytes(), given.mode, given.size, dict(given.info), dict(given.getexif())
        result = load(given)
        assert (given.tobytes(), given.mode, given.size, dict(given.info), dict(given.getexif())) == before
        assert result is not given
        assert result.size == (9, 14)


def test_one_lazily_opened_picture_in_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    NOISE.resize((300, 200)).save(path)
    with Image.open(path) as shared:
        results: list[bytes] = []
        threads = [threading.Thread(target=lambda: results.append(load(shared).tobytes())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


# ---- modes -----------------------------------------------------------------------------------------------------------


def test_cmyk() -> None:
    image = load(encoded(halves(RED, BLUE, size=(32, 16)).convert("CMYK"), "JPEG", quality=95))
    assert close(image, (4, 8), RED, 40)
    assert close(image, (28, 8), BLUE, 40)


def test_sixteen_bits() -> None:
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert [p[0] for p in np.asarray(load(encoded(Image.fromarray(values), kind)))[0]] == [0, 100, 255]
    big_endian = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    assert [p[0] for p in np.asarray(load(big_endian))[0]] == [0, 100, 255]


RAMP = np.linspace(0, 255, 64).reshape(8, 8)
"""A picture's brightness, 0 to 255."""


def greys(values: Any, kind: str, **options: Any) -> Any:
    """Write 16-bit samples into a file, read it, and return the greys that came."""
    return np.asarray(load(encoded(Image.fromarray(np.asarray(values, np.uint16)), kind, **options)))[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_as_many_of_sixteen_bits_as_are_used_make_white(bits: int, kind: str) -> None:
    found = greys(np.rint(RAMP / 255 * (2**bits - 1)), kind)
    assert np.abs(found.astype(int) - RAMP).max() <= 1
    shifted = greys(np.rint(RAMP).astype(int) << (bits - 8), kind)
    assert np.abs(shifted.astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.3, 0.5])
def test_a_dark_picture_of_sixteen_bits_stays_dark(share: float, kind: str) -> None:
    found = greys(np.rint(RAMP / 255 * 65535 * share), kind)
    assert np.abs(found.astype(int) - RAMP * share).max() <= 1


def test_one_bright_sample_and_eight_bits_written_twice_keep_the_range() -> None:
    values = np.rint(RAMP / 255 * 1000).astype(int)
    values[3, 3] = 60_000
    assert greys(values, "PNG").max() == 233
    assert np.sort(greys(values, "PNG"), axis=None)[-2] == 4
    assert greys(np.rint(RAMP * 0.05).astype(int) * 257, "PNG").max() == 13
    assert greys(np.zeros((4, 4)), "PNG").max() == 0


def test_what_a_tiff_says_of_its_samples_counts() -> None:
    values = np.rint(RAMP / 255 * 900)
    assert greys(values, "TIFF", tiffinfo={281: 4095}).max() == round(900 / 4095 * 255)
    assert greys(values, "TIFF").max() == round(900 / 1023 * 255)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_sixteen_bits_are_scaled_by_what_is_used(bits: int, alpha: bool) -> None:
    top = 2**bits - 1
    shades = np.stack([RAMP, RAMP[::-1], np.full_like(RAMP, 128)], axis=-1) / 255 * top
    if alpha:
        shades = np.concatenate([shades, np.full((8, 8, 1), 65535.0)], axis=-1)
    channels = shades.shape[-1]
    rows = np.rint(shades).astype(">u2").reshape(8, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 6 if alpha else 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    expected = shades[..., :3] / top * 255
    assert np.abs(np.asarray(load(png)).astype(int) - expected).max() <= 1
    if channels == 3:
        assert np.abs(np.asarray(load(_tiff_of(rows, ">"))).astype(int) - expected).max() <= 1
        assert np.abs(np.asarray(load(_tiff_of(rows, "<"))).astype(int) - expected).max() <= 1


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _tiff_of(rows: Any, order: str) -> bytes:
    """Write 8x8 RGB samples of 16 bits as an uncompressed TIFF."""
    samples = rows.astype(f"{order}u2").tobytes()
    fields = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140),
              (277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(samples)), (284, 3, 1, 1)]  # fmt: skip
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(fields))
    for tag, kind, count, value in fields:
        packed = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        head += struct.pack(f"{order}HHI", tag, kind, count) + packed
    head += struct.pack(f"{order}I", 0)
    return head.ljust(134, b"\0") + struct.pack(f"{order}HHH", 16, 16, 16) + samples


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 255], [0, 100, 255]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([-100, 0, 100], [0, 128, 255]),
        ([0, 500_000, 1_000_000], [0, 128, 255]),
        ([7, 7, 7], [7, 7, 7]),
    ],
)
def test_thirty_two_bits(values: list[int], expected: list[int]) -> None:
    image = load(Image.fromarray(np.array([values], np.int32)))
    assert [p[0] for p in np.asarray(image)[0]] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([float("nan"), 1.0, float("inf")], [0, 255, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
    ],
)
def test_floats(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert [p[0] for p in np.asarray(load(encoded(image, "TIFF")))[0]] == expected


def test_floats_are_scaled_alike_in_whatever_pieces_and_without_many_times_their_memory() -> None:
    samples = np.linspace(-3.0, 70_000.0, 900 * 1000, dtype=np.float32).reshape(900, 1000)
    samples[5, 7], samples[800, 1] = float("nan"), float("-inf")
    data = encoded(Image.fromarray(samples), "TIFF")
    tracemalloc.start()
    found = np.asarray(load(data))[..., 0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    values = np.nan_to_num(samples.astype(np.float64), nan=0.0, neginf=-math.inf)
    expected = np.rint(np.clip((values + 3.0) / (float(samples[-1, -1]) + 3.0), 0.0, 1.0) * 255.0)
    assert (found == expected).all()
    assert peak < 20 * samples.size + len(data)


def test_one_bit() -> None:
    image = load(encoded(halves(1, 0, "1"), "PNG"))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((11, 0)) == (0, 0, 0)


def test_palette() -> None:
    image = halves(1, 2, "P")
    image.putpalette([0, 0, 0, *RED, *BLUE])
    for kind in ("PNG", "GIF"):
        assert load(encoded(image, kind)).getpixel((0, 0)) == RED
        transparent = load(encoded(image, kind, transparency=1))
        assert transparent.getpixel((0, 0)) == (255, 255, 255)
        assert transparent.getpixel((11, 0)) == BLUE
    several = load(encoded(image, "PNG", transparency=bytes([255, 0, 128])))
    assert several.getpixel((0, 0)) == (255, 255, 255)
    assert close(several, (11, 0), tuple((c + 255) // 2 for c in BLUE), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind: str) -> None:
    image = load(
        encoded(halves((*RED, 255), (0, 0, 0, 0), "RGBA"), kind, **({"lossless": True} if kind == "WEBP" else {}))
    )
    assert image.getpixel((0, 0)) == RED
    assert image.getpixel((11, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa", "RGBX", "HSV", "YCbCr", "LAB"])
def test_rare_modes(mode: str) -> None:
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        given = ImageCms.profileToProfile(halves(RED, BLUE), *profiles, outputMode="LAB")
        assert given is not None
        assert close(load(given), (0, 0), RED, 12)
        return
    steps = {"La": ["LA", "La"], "RGBa": ["RGBA", "RGBa"], "PA": ["P", "PA"]}.get(mode, [mode])
    given = halves(RED, BLUE)
    for step in steps:
        given = given.convert(step)
    assert load(given).size == (12, 8)


def test_transparent_colour_of_a_picture_without_alpha() -> None:
    image = load(encoded(halves(RED, BLUE), "PNG", transparency=RED))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((11, 0)) == BLUE


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (10, 6), colour) for colour in (RED, BLUE, (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = load(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert image.getpixel((0, 0)) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), BLUE)
    upright.paste(RED, (0, 0, 16, 8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load(encoded(stored, kind, exif=exif))
    assert image.size == (32, 16)
    assert close(image, (4, 3), RED, 40)
    assert close(image, (28, 3), BLUE, 40)
    assert close(image, (4, 13), BLUE, 40)


@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage" * 3, b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00"])
def test_damaged_exif_beside_sound_samples(exif: bytes) -> None:
    assert load(encoded(halves(RED, BLUE, size=(32, 16)), "JPEG", exif=exif)).size == (32, 16)


# ---- what cannot be used ---------------------------------------------------------------------------------------------


def test_missing_empty_and_odd_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    text = tmp_path / "text.png"
    text.write_text("this is not a picture")
    for path, kind, said in (
        (tmp_path / "no.jpg", ImageNotFoundError, "no such file"),
        (text / "below.png", ImageNotFoundError, "no such file"),
        (empty, ImageUnreadableError, "empty"),
        (text, ImageUnreadableError, "not a picture"),
        (tmp_path, ImageUnreadableError, "folder"),
        ("nul\0byte.png", ImageUnreadableError, "cannot be opened"),
        ("https://example.org/a.png", ImageRefusedError, "pictures.urls"),
        ("x" * 5000, ImageUnreadableError, "cannot be opened"),
    ):
        with pytest.raises(kind, match=said) as caught:
            load(path)
        assert caught.value.name == "picture"
        assert str(caught.value).startswith("picture: ")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(NOISE, "PNG"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageUnreadableError, match="permission denied"):
        load(path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageUnreadableError, match="regular"):
        load(pipe)


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ImageError):
        load(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_truncated(kind: str) -> None:
    data = encoded(NOISE.resize((120, 90)), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageUnreadableError) as caught:
            load(data[: int(len(data) * share)])
        assert len(str(caught.value)) < 300


def test_bytes_never_reach_a_message() -> None:
    data = b"GIF89a" + bytes(range(200, 256)) * 20
    with pytest.raises(ImageError) as caught:
        load(data)
    assert str(caught.value).isascii()
    assert "\\x" not in str(caught.value)


def test_bytes_limit_is_checked_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(encoded(NOISE, "PNG"))
    limits = ImageSettings(max_bytes=20)
    with pytest.raises(ImageTooLargeError, match="max_bytes"):
        load(path.read_bytes(), limits)

    def untouched(*_: object, **__: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(Path, "open", untouched)
    with pytest.raises(ImageTooLargeError, match="max_bytes"):
        load(path, limits)


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_001, 10_000), (13_000, 13_000), (60_000, 60_000), (2_000_000_000, 1)])
def test_a_decompression_bomb_is_refused_from_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLargeError, match="max_pixels"):
        load(_png_claiming(*size))


def test_pillows_own_limit_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(NOISE, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        assert load(data).size == NOISE.size
        assert load(NOISE).size == NOISE.size
        with pytest.raises(ImageTooLargeError):
            load(data, ImageSettings(max_pixels=NOISE.width * NOISE.height - 1))
        with pytest.raises(ImageTooLargeError):
            load(NOISE, ImageSettings(max_pixels=5))
    assert not remarks
    assert Image.MAX_IMAGE_PIXELS == 10


def _with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """Put chunks behind the header of a PNG."""
    data = encoded(NOISE, "PNG")
    return data[:33] + b"".join(_chunk(*one) for one in chunks) + data[33:]


LONG = bytes(range(32, 127)) * 20_000
"""1.9 MB of text."""


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"parameters\0" + LONG), (b"zTXt", b"parameters\0\0" + zlib.compress(LONG)),
        (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(LONG)), (b"iTXt", b"prompt\0\0\0\0\0" + LONG),
        (b"iCCP", b"printer\0\0" + zlib.compress(LONG)), (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(LONG)),
    ],
)  # fmt: skip
def test_long_texts_and_colour_profiles_beside_sound_samples(chunk: tuple[bytes, bytes]) -> None:
    many = [chunk] * 40
    for data in (_with_chunks(chunk), _with_chunks(*many)):
        assert np.array_equal(np.asarray(load(data)), np.asarray(NOISE))


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("body", [b"\0\0\0\0\0" + XMP, b"\0\1\0\0\0" + zlib.compress(XMP)])
def test_a_text_that_says_which_way_is_up_is_kept_beside_long_ones(body: bytes) -> None:
    data = _with_chunks((b"tEXt", b"parameters\0" + LONG), (b"iTXt", b"XML:com.adobe.xmp" + body))
    assert load(data).size == NOISE.size[::-1]


FTYP = b"\0\0\0\x1cftyp%s\0\0\0\0%s" + bytes(64)


@pytest.mark.parametrize(
    "brands",
    [(b"heic", b"mif1heic"), (b"mif1", b"mif1heicmiaf"), (b"msf1", b"hevcmsf1"), (b"heix", b"mif1heix")],
)
@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="its decoder is installed")
def test_heic_is_named_with_the_package_that_reads_it(brands: tuple[bytes, bytes]) -> None:
    with pytest.raises(ImageUnreadableError, match=r"is HEIC, .* pip install pillow-heif"):
        load(FTYP % brands)


@pytest.mark.skipif(find_spec("pillow_jxl") is not None, reason="its decoder is installed")
def test_jpeg_xl_is_named_with_the_package_that_reads_it() -> None:
    for data in (b"\xff\x0a" + bytes(60), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60)):
        with pytest.raises(ImageUnreadableError, match=r"is JPEG XL, .* pip install pillow-jxl-plugin"):
            load(data)


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="its decoder is not installed")
def test_heic_is_read_where_its_decoder_is_installed() -> None:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(halves(RED, BLUE, size=(48, 32))).save(buffer)
    assert close(load(buffer.getvalue()), (6, 16), RED, 12)


def test_a_plugin_is_registered_when_a_picture_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_plugin.py").write_text(
        "from PIL import Image, PngImagePlugin\n"
        "def register():\n"
        "    Image.register_open('MADE', PngImagePlugin.PngImageFile, lambda prefix: prefix.startswith(b'MADE'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    plugin = Plugin("MADE", "made_plugin", "made-plugin", "register")
    assert not Plugin("MADE", "no_such_plugin", "x", "register").use()
    assert "MADE" not in Image.OPEN
    assert plugin.use()
    assert plugin.use()
    assert "MADE" in Image.OPEN


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7\n", "a PDF document; export"), (b"II*\0\x10\0\0\0CR\2\0", "RAW file; develop"),
        (FTYP % (b"crx ", b"crx isom"), "RAW file"), (b"FUJIFILMCCD-RAW 0201", "RAW file"),
        (b"<?xml version='1.0'?>\n<!-- made -->\n<svg xmlns='x'>", "an SVG drawing; render"),
        (FTYP % (b"isom", b"isomavc1"), "a video; take pictures"), (b"\x1aE\xdf\xa3\x01", "a video"),
        (b"\n<!doctype HTML><html>", "a web page"), (b"PK\3\4\x14\0", "a zip archive; unpack"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"), (b"8BPS\0\1", "Photoshop"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_named_with_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(ImageUnreadableError, match=f"not a picture of a known kind, but .*{said}"):
        load(data)


def test_a_thumbnail_does_not_pass_for_a_cameras_raw_picture(tmp_path: Path) -> None:
    thumbnail = encoded(NOISE, "TIFF")
    path = tmp_path / "IMG_1.NEF"
    path.write_bytes(thumbnail)
    with pytest.raises(ImageUnreadableError, match="RAW file"):
        load_rgb(path, name=str(path), limits=LIMITS)
    with pytest.raises(ImageUnreadableError, match="RAW file"):
        load(encoded(NOISE, "TIFF", tiffinfo={50706: b"\1\4\0\0"}))


def test_programs_are_not_started_for_a_picture() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageUnreadableError, match="known kind"):
        load(eps)


@pytest.mark.parametrize(
    "error",
    [
        OSError("x"), SyntaxError("x"), ValueError("x"), struct.error("x"), EOFError(), zlib.error("x"), MemoryError(),
        OverflowError("x"), IndexError("x"), KeyError("x"), TypeError("<0x7f>"), Image.DecompressionBombError("x"),
    ],
)  # fmt: skip
def test_whatever_a_decoder_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise error

    data = encoded(NOISE, "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError) as caught:
        load(data)
    assert "0x7f" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "AVIF", "JPEG2000"])
def test_mutated_bytes_give_a_picture_or_an_image_error(kind: str) -> None:
    rng = random.Random(f"mutations of {kind}")
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    original = encoded(NOISE.resize((40, 24)), kind, **options)
    changes: list[Callable[[bytearray], object]] = [
        lambda data: data.__setitem__(rng.randrange(len(data)), rng.randrange(256)),
        lambda data: data.__setitem__(rng.randrange(min(64, len(data))), rng.choice([0, 1, 0x7F, 0x80, 0xFF])),
        lambda data: data.__delitem__(slice(rng.randrange(len(data)), None)),
        lambda data: data.insert(rng.randrange(len(data)), rng.randrange(256)),
        lambda data: data.extend(rng.randbytes(9)),
    ]
    limits = ImageSettings(max_pixels=1_000_000)
    for _ in range(150):
        data = bytearray(original)
        for _ in range(rng.randint(1, 6)):
            if data:
                rng.choice(changes)(data)
        try:
            image = load_rgb(bytes(data), name="mutant", limits=limits)
        except ImageError as error:
            assert str(error).startswith("mutant: ")
            assert len(str(error)) < 300
        else:
            assert image.mode == "RGB"
            assert image.width * image.height <= limits.max_pixels


def test_real_photos() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("the photos are not here")
    paths = sorted(PHOTOS.rglob("*.jp*g"))[::7]
    assert paths
    for path in paths:
        with Image.open(path) as expected:
            assert load(path).size in (expected.size, expected.size[::-1])
