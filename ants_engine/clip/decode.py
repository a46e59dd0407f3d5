"""Decoding: any picture that a user gives becomes an upright 8-bit RGB `PIL.Image.Image`, or one `ImageError`."""

import hashlib
import io
import math
import os
import stat
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from ants_engine.clip.formats import HEAD, RAW, RAW_SUFFIXES, TIFF, excess, kind_of, without_long_texts
from ants_engine.clip.web_address import address_name, web_scheme
from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.text_file import expand_home
from ants_engine.errors import (
    ImageError,
    ImageNotFoundError,
    ImageRefusedError,
    ImageTooLargeError,
    ImageUnreadableError,
)
from ants_engine.settings.config import ImageSettings


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A picture's file that a saved detector names, and that is used only while its content is unchanged.

    The detector's author could have named any file; only those who have seen a file know its digest.
    """

    path: str
    """Absolute."""
    sha256: str | None
    """Hex digest of the content; with None the file is never used."""
    is_copy: bool = False
    """It lies in the detector's own folder, where nothing may be a link."""


PictureSource: TypeAlias = str | Path | CheckedFile | bytes | Image.Image | NDArray[Any]
"""What one picture may be given as."""

FORMATS = (
    "JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "TGA", "PCX", "QOI",
)  # fmt: skip
"""Pillow's names of the formats that are decoded, besides those of plugins (`formats.Plugin`). EPS, WMF and the
like are left out: they start other programs."""

DECODING = 2
"""Version of the decoder, part of the keys of cached features: raised when a file is decoded to other samples."""
_MAX_SAMPLE_VALUE, _DNG_VERSION = 281, 50706
"""Tags of TIFF."""
_MAX_EXIF = 1 << 20
"""Bytes; a camera writes a tenth of it, and a field of a larger one may expand to gigabytes."""
_PIECE = 1 << 18
"""Samples that are scaled in one step, since that takes many times their memory."""
_INIT_LOCK = threading.Lock()
_WARNING_LOCK = threading.Lock()
_SHARED_LOCK = threading.Lock()

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_rgb(
    source: PictureSource, *, name: str, limits: ImageSettings, admit: Callable[[int], None] | None = None
) -> Image.Image:
    """Decode one picture. Blocking, and safe to call from several threads.

    Transparency is composited on white, 16-bit and float samples are scaled to 8 bits (see `_span`), the first frame of
    an animation is taken, EXIF orientation is applied. A given PIL picture is copied, never changed (a lazily opened
    one is loaded).

    Args:
        source: a path, a web address, the bytes of a file, a PIL picture, or a uint8 array of shape (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4).
        name: what the picture is called in errors.
        limits: ``max_bytes`` is checked before a file is read, ``max_pixels`` before its samples are decoded.
        admit: called with the number of pixels of a file, before its samples are decoded; it may wait.

    Returns:
        A new picture of mode ``RGB``.

    Raises:
        ImageNotFoundError: there is no such file.
        ImageTooLargeError: more bytes or pixels than ``limits`` allow.
        ImageUnreadableError: not a picture, truncated, or of an unsupported kind.
        ImageRefusedError: a web address that ``limits`` do not allow, or a `CheckedFile` that has changed.
        ImageFetchError: a web address that gave no picture.
    """
    with _as_image_error(source, name) as shown:
        data = _file_bytes(source, shown, limits)
        if data is not None:
            return _from_bytes(data, shown, limits, admit)
        if isinstance(source, Image.Image):
            return _from_pil(source, shown, limits)
        if isinstance(source, np.ndarray):
            return _from_array(source, shown, limits)
        raise ImageUnreadableError(
            shown, f"a {_kind(source)} is not a picture; give a path, bytes, a PIL picture or a uint8 array"
        )


def read_bytes(source: PictureSource, *, name: str, limits: ImageSettings) -> bytes | None:
    """Read or fetch a picture's file, undecoded (blocking).

    Returns:
        At least one byte; None for a picture that is decoded already, or for what is no picture.

    Raises:
        ImageError: as `load_rgb`, as far as it concerns the file.
    """
    with _as_image_error(source, name) as shown:
        return _file_bytes(source, shown, limits)


def check_there(path: str) -> None:
    """Check that a path names a regular file; a web address is not contacted.

    Raises:
        ImageNotFoundError: there is no such file.
        ImageUnreadableError: it is a folder, a pipe or a device.
    """
    if web_scheme(path) is None:
        _file_size(Path(expand_home(path)), path)


def file_sha256(path: str | Path) -> str | None:
    """Return the hex digest of a regular file's content (blocking); None where it cannot be read."""
    try:
        # opening a pipe or a device could block for ever
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return None
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


@contextmanager
def _as_image_error(source: object, name: str) -> Iterator[str]:
    """Yield the picture's name, without an address's query; turn what a decoder raises into an `ImageError`.

    Its text holds neither bytes nor addresses of objects.
    """
    shown = address_name(source) if isinstance(source, str) and name == source and web_scheme(source) else name
    try:
        yield shown
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(shown, "a part of it claims more pixels than Pillow's own limit allows") from error
    except MemoryError as error:
        raise ImageUnreadableError(shown, "there is not enough memory to decode it") from error
    except Exception as error:
        detail = str(error).splitlines()[0] if str(error) else ""
        plain = detail if detail.isprintable() and len(detail) <= 160 and "<" not in detail else ""
        raise ImageUnreadableError(shown, f"cannot be decoded ({plain or type(error).__name__})") from error


def _kind(value: object) -> str:
    """Name a value's type as its user would: ``torch.Tensor``, ``dict``."""
    cls = type(value)
    module = cls.__module__.partition(".")[0]
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


# ---- bytes -----------------------------------------------------------------------------------------------------------


def _file_bytes(source: PictureSource, name: str, limits: ImageSettings) -> bytes | None:
    if isinstance(source, str) and web_scheme(source):
        from ants_engine.clip.fetch import fetch

        return _check_bytes(fetch(source, name, limits), name, limits)
    if isinstance(source, str | os.PathLike):
        return _read_file(source, name, limits)
    if isinstance(source, CheckedFile):
        return _read_checked(source, name, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _check_bytes(bytes(source), name, limits)
    return None


def _read_file(source: "str | os.PathLike[str]", name: str, limits: ImageSettings) -> bytes:
    path = Path(expand_home(source))
    size = _file_size(path, name)
    if size > limits.max_bytes:
        raise _too_many_bytes(size, name, limits)
    with _named(name), path.open("rb") as file:
        data = read_at_most(file, limits.max_bytes + 1)
    return _check_bytes(data, name, limits)


def _read_checked(file: CheckedFile, name: str, limits: ImageSettings) -> bytes:
    """Read once, so that the bytes that were checked are the bytes that are decoded."""
    if file.sha256 is None:
        raise ImageRefusedError(
            name,
            "was saved without the sha256 of its content, so it may be another file by now, and is not shown; "
            "stream it again to have it looked at",
        )
    path = Path(file.path)
    if file.is_copy and (path.is_symlink() or path.parent.is_symlink()):
        raise ImageRefusedError(name, "is a link where the detector's folder should hold a copy, and is not shown")
    data = _read_file(path, name, limits)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ImageRefusedError(
            name,
            "is not the file that was saved (the sha256 of its content differs), and is not shown; "
            "stream it again to have it looked at",
        )
    return data


def _file_size(path: Path, name: str) -> int:
    with _named(name):
        info = path.stat()
    if stat.S_ISDIR(info.st_mode):
        raise ImageUnreadableError(name, _why_a_folder(path))
    # opening a pipe or a device could block for ever
    if not stat.S_ISREG(info.st_mode):
        raise ImageUnreadableError(name, "is not a regular file")
    return info.st_size


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn an `OSError` into an `ImageError` of this picture."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageNotFoundError(name, "no such file") from error
    except PermissionError as error:
        raise ImageUnreadableError(name, "may not be read (permission denied)") from error
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageUnreadableError(name, f"cannot be opened ({detail})") from error


def _why_a_folder(path: Path) -> str:
    try:
        os.scandir(path).close()
    except OSError as error:
        return f"is a folder that cannot be read ({error.strerror or error}): the pictures in it are missing"
    return "is a folder; give folders by themselves or in a list, not from an iterator"


def _check_bytes(data: bytes, name: str, limits: ImageSettings) -> bytes:
    if not data:
        raise ImageUnreadableError(name, "is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(len(data), name, limits)
    return data


def _too_many_bytes(size: int, name: str, limits: ImageSettings) -> ImageTooLargeError:
    return ImageTooLargeError(name, f"has {size:,} bytes; pictures.max_bytes allows {limits.max_bytes:,}")


def _check_pixels(size: tuple[int, int], name: str, limits: ImageSettings) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageUnreadableError(name, f"has no pixels ({width}x{height})")
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            name, f"has {width}x{height} = {width * height:,} pixels; pictures.max_pixels allows {limits.max_pixels:,}"
        )


def _from_bytes(data: bytes, name: str, limits: ImageSettings, admit: Callable[[int], None] | None) -> Image.Image:
    costly = excess(data)
    if costly is not None:
        raise ImageTooLargeError(name, costly)
    try:
        return _decode(data, name, limits, admit)
    except Warning:
        # the application turns warnings into errors: whether a picture decodes must not depend on that
        with _WARNING_LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, name, limits, admit)


def _decode(data: bytes, name: str, limits: ImageSettings, admit: Callable[[int], None] | None) -> Image.Image:
    data = without_long_texts(data)
    with _open_header(data, name) as image:
        if isinstance(image, TiffImagePlugin.TiffImageFile) and _DNG_VERSION in image.tag_v2:
            raise ImageUnreadableError(name, RAW.complaint)
        _check_pixels(image.size, name, limits)
        pixels = max(image.width * image.height, _tile_pixels(image))
        if pixels > limits.max_pixels:
            raise ImageTooLargeError(
                name, f"has a tile of {pixels:,} pixels; pictures.max_pixels allows {limits.max_pixels:,}"
            )
        if admit is not None:
            admit(pixels)
        low_bytes = _low_bytes_mode(image)
        image.load()
        # a frame may turn out larger than the header said
        _check_pixels(image.size, name, limits)
        rgb = _to_rgb(image if low_bytes is None else _deep_colours(image, low_bytes, data, name), _declared(image))
        return _transposed(rgb, _orientation(image))


def _tile_pixels(image: ImageFile.ImageFile) -> int:
    """Return the pixels of a TIFF's tile, which is always decoded whole; 0 for other formats."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    sides = [image.tag_v2.get(tag) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
    return math.prod(side if isinstance(side, int) else 0 for side in sides)


def _open_header(data: bytes, name: str) -> ImageFile.ImageFile:
    """Identify the format and read the header. `Image.open` would apply Pillow's process-wide pixel limit first."""
    kind = kind_of(data[:HEAD])
    if kind is TIFF and Path(name).suffix.lower() in RAW_SUFFIXES:
        # its first picture would be a thumbnail
        kind = RAW
    with _INIT_LOCK:
        Image.init()
        if kind is not None and (not kind.is_picture or (kind.plugin is not None and not kind.plugin.use())):
            raise ImageUnreadableError(name, kind.complaint)
    prefix = data[:16]
    reason = ""
    for format_ in FORMATS if kind is None or kind.plugin is None else (kind.plugin.format,):
        factory, accept = Image.OPEN.get(format_, (None, None))
        accepted = accept(prefix) if accept else True
        if factory is None or not accepted or isinstance(accepted, str):
            continue
        try:
            return factory(io.BytesIO(data), "")
        except (Warning, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:
            # another format may yet recognise it; TGA has no signature, so its complaint means nothing
            if accept:
                reason = reason or f"looks like {format_}, but its header is damaged ({type(error).__name__})"
    raise ImageUnreadableError(name, reason or "is not a picture of a known kind")


# ---- objects ---------------------------------------------------------------------------------------------------------


def _from_pil(source: Image.Image, name: str, limits: ImageSettings) -> Image.Image:
    _check_pixels(source.size, name, limits)
    if source.format == "EPS" and getattr(source, "tile", None):
        # opened and not yet loaded: loading it would start Ghostscript
        raise ImageUnreadableError(name, "is an EPS document, which is a program; convert it to PNG")
    # two threads must not load one lazily opened picture at once
    with _SHARED_LOCK:
        copy = source.copy()
        # a copy has lost what was set on `getexif()`, and the file's format
        orientation, declared = _orientation(source), _declared(source)
    return _transposed(_to_rgb(copy, declared), orientation)


def _from_array(source: NDArray[Any], name: str, limits: ImageSettings) -> Image.Image:
    if source.dtype != np.uint8:
        raise ImageUnreadableError(name, f"an array of {source.dtype} was given; picture arrays are uint8, 0 to 255")
    array = source[..., 0] if source.ndim == 3 and source.shape[2] == 1 else source
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageUnreadableError(
            name, f"an array of shape {source.shape} was given; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    _check_pixels((array.shape[1], array.shape[0]), name, limits)
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))


# ---- samples ---------------------------------------------------------------------------------------------------------


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """Read the EXIF orientation of a loaded picture. Formats that apply it themselves (TIFF, AVIF) have dropped it."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF:
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Warning:
        raise
    except Exception:  # damaged EXIF beside sound samples: the picture is used as it is
        return None


def _transposed(rgb: Image.Image, method: Image.Transpose | None) -> Image.Image:
    return rgb if method is None else rgb.transpose(method)


def _to_rgb(image: Image.Image, declared: int | None = None) -> Image.Image:
    """Convert any mode to a new RGB picture; ``declared`` is the largest possible sample, where it is known."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode, declared)).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        return _on_white(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if converted is None:
        raise ValueError("Lab colours could not be converted")
    return converted


def _eight_bits(samples: NDArray[Any], mode: str, declared: int | None) -> NDArray[np.uint8]:
    """Scale (H, W) samples of more than 8 bits to uint8 (H, W).

    ``I;16`` spans 0 to what `_span` says. ``I`` and ``F`` have no fixed span: 0 to 1 (floats), 0 to 255 and 0 to 65535
    are taken as such when everything lies inside, whole numbers up to 65535 as in ``I;16``; anything else is stretched
    from its least to its greatest value.
    """
    if mode.startswith("I;16"):
        return _scaled(samples, _span(samples, declared))
    if mode == "I" and samples.size and samples.min() >= 0 and samples.max() <= 65535:
        return _scaled(samples, _span(samples, declared))
    low, high = _least_and_greatest(samples)
    if mode == "F" and low >= 0.0 and high <= 65535.0:
        low, high = 0.0, next(span for span in (1.0, 255.0, 65535.0) if high <= span)
    scaled = np.empty(samples.shape, np.uint8)
    for piece, into in zip(_pieces(samples), _pieces(scaled), strict=True):
        shares = (_float64(piece) - low) / ((high - low) or 1.0)
        into[...] = np.rint(np.clip(shares, 0.0, 1.0) * 255.0)
    return scaled


def _pieces(samples: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = samples.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE]


def _least_and_greatest(samples: NDArray[Any]) -> tuple[float, float]:
    """Return the range of the finite samples; (0, 0) where there are none."""
    low, high = math.inf, -math.inf
    for piece in _pieces(samples):
        values = _float64(piece)
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _float64(samples: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=math.inf, neginf=-math.inf)


def _scaled(samples: NDArray[Any], span: int) -> NDArray[np.uint8]:
    """Scale integers from 0 to 65535 so that ``span`` becomes 255, by a lookup table."""
    table = np.rint(np.minimum(np.arange(65536) / span, 1.0) * 255.0).astype(np.uint8)
    scaled: NDArray[np.uint8] = table[samples.astype(np.uint16, copy=False)]
    return scaled


def _span(samples: NDArray[Any], declared: int | None = None) -> int:
    """Return the sample of 16 bits that is white, which depends on how many bits are used.

    A range that the file declares is used. Otherwise 8, 10 or 12 bits are assumed when no sample needs more, and 14
    when none needs more and the brightest is within a sixteenth of the maximum of 14 bits: cameras and scanners store
    such samples in 16-bit files. All other pictures use all 16 bits, so that a dark picture stays dark; so do those
    whose samples are 8 bits written twice (v * 257). One bright sample is enough to keep the full range; a picture
    without any sample above a sixteenth of it cannot be told from one of 12 bits, and is brightened.
    """
    top = int(samples.max()) if samples.size else 0
    if declared is not None and top <= declared:
        return declared
    if top >= 1 << 14 or not top or not any((piece % 257).any() for piece in _pieces(samples)):
        return 65535
    for bits in (8, 10, 12):
        if top < 1 << bits:
            return (1 << bits) - 1
    return (1 << 14) - 1 if top >= 15 << 10 else 65535


def _declared(image: Image.Image) -> int | None:
    """Return the largest possible sample, where the format or the file itself defines it."""
    if image.format in ("JPEG2000", "PPM"):
        # both declare the bits used, and Pillow has scaled them to 16
        return 65535
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    tags = image.tag_v2
    bits, greatest = tags.get(TiffImagePlugin.BITSPERSAMPLE), tags.get(_MAX_SAMPLE_VALUE)
    if isinstance(bits, tuple) and bits and isinstance(bits[0], int) and 8 < bits[0] < 16:
        return (1 << bits[0]) - 1
    if isinstance(greatest, tuple) and greatest and isinstance(greatest[0], int) and 255 <= greatest[0] <= 65535:
        return int(greatest[0])
    return None


def _low_bytes_mode(image: ImageFile.ImageFile) -> str | None:
    """Return the raw mode for the lower bytes of a 16-bit colour picture; Pillow unpacks the upper ones only."""
    if image.mode not in ("RGB", "RGBA") or len(image.tile) < 1:
        return None
    arguments: Any = image.tile[0][3]
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    if not isinstance(mode, str) or mode[:-1] not in ("RGB;16", "RGBA;16") or mode[-1] not in other:
        return None
    return mode[:-1] + other[mode[-1]]


def _deep_colours(image: Image.Image, low_bytes: str, data: bytes, name: str) -> Image.Image:
    """Scale a 16-bit colour picture by the bits that are used, see `_span`."""
    upper = np.asarray(image)
    if not upper.size or int(upper[..., :3].max()) >= 1 << 6:
        # more than 14 bits are used
        return image
    with _open_header(data, name) as lower:
        lower.tile = [
            tile._replace(args=(low_bytes, *tile.args[1:]) if isinstance(tile.args, tuple) else low_bytes)
            for tile in lower.tile
        ]
        lower.load()
        deep = upper[..., :3].astype(np.uint16)
        deep *= 256
        deep += np.asarray(lower)[..., :3]
    scaled = upper.copy()
    scaled[..., :3] = _scaled(deep, _span(deep, _declared(image)))
    return Image.fromarray(scaled, image.mode)
