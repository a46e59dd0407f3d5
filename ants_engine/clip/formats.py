"""Image file formats: signatures, limits of decoding cost, and PNG metadata; all examined before decoding."""

import importlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = 512
"""Bytes of a file that `kind_of` examines."""

RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
})  # fmt: skip
"""Lower-case suffixes of camera RAW files. Many are TIFF files whose first picture is a thumbnail."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file, supported or not."""

    name: str
    """Display name: ``PNG``, ``a PDF document``."""
    remedy: str = ""
    """What the user can do where it cannot be read; empty for a supported kind."""
    plugin: "Plugin | None" = None
    """The package that decodes it, where Pillow alone does not."""

    @property
    def is_picture(self) -> bool:
        """Whether it is supported, if need be with its plugin."""
        return not self.remedy

    @property
    def complaint(self) -> str:
        """Explain why it is not read, and what to do."""
        if self.plugin is not None:
            return (
                f"is {self.name}, whose decoder is not installed: pip install {self.plugin.package} (it is found and "
                "used by itself), or convert the picture to JPEG or PNG"
            )
        return f"is not a picture of a known kind, but {self.name}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A package that adds a format to Pillow."""

    format: str
    """Pillow's name of the format."""
    module: str
    package: str
    """The package's name on PyPI."""
    register: str | None = None
    """A function of the module to call; without one, importing is enough."""

    def use(self) -> bool:
        """Register it with Pillow, if it is installed (blocking; not thread-safe)."""
        from PIL import Image

        if self.format not in Image.OPEN:
            try:
                module = importlib.import_module(self.module)
                if self.register is not None:
                    getattr(module, self.register)()
            except Exception:  # a plugin that fails to import, for whatever reason, counts as not installed
                return False
        return self.format in Image.OPEN


HEIC = Kind("HEIC", plugin=Plugin("HEIF", "pillow_heif", "pillow-heif", "register_heif_opener"))
JPEG_XL = Kind("JPEG XL", plugin=Plugin("JXL", "pillow_jxl", "pillow-jxl-plugin"))
TIFF = Kind("TIFF")
RAW = Kind("a camera's RAW file", "develop it to JPEG or TIFF (with the camera's software, darktable, dcraw)")
VIDEO = Kind("a video", "take pictures out of it, such as with ffmpeg -i FILE frame_%05d.png")

_EXPORT = "export it as PNG or JPEG"
_PROGRAM = Kind("an EPS document", "which is a program; convert it to PNG")

_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (rb"\xff\xd8\xff", Kind("JPEG")),
    (rb"\x89PNG\r\n\x1a\n", Kind("PNG")),
    (rb"GIF8[79]a", Kind("GIF")),
    (rb"RIFF.{4}WEBP", Kind("WebP")),
    (rb"II\*\0\x10\0\0\0CR", RAW),
    (rb"II[*+]\0|MM\0[*+]", TIFF),
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", Kind("BMP")),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", Kind("JPEG 2000")),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", JPEG_XL),
    (rb"P[1-6]\s[\s\d#]", Kind("PNM")),
    (rb"qoif", Kind("QOI")),
    (rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM", RAW),
    (rb"\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01|RIFF.{4}AVI ", VIDEO),
    (rb"%PDF", Kind("a PDF document", "export its pages as PNG or JPEG (pdftoppm -png)")),
    (rb"%!PS|\xc5\xd0\xd3\xc6", _PROGRAM),
    (rb"8BPS", Kind("a Photoshop document", _EXPORT)),
    (rb"gimp xcf", Kind("a GIMP document", _EXPORT)),
    (rb"v/1\x01", Kind("an OpenEXR picture", f"which has no fixed brightness; {_EXPORT}")),
    (rb"#\?RADIANCE", Kind("a Radiance HDR picture", f"which has no fixed brightness; {_EXPORT}")),
    (rb"SIMPLE  =", Kind("a FITS file", _EXPORT)),
    (rb".{128}DICM", Kind("a DICOM file", "convert it to PNG, such as with pydicom")),
    (rb"\0\0\x01\0", Kind("an icon file", "convert it to PNG")),
    (rb"PK\x03\x04", Kind("a zip archive", "unpack it")),
    (rb"\x1f\x8b", Kind("a gzip archive", "unpack it")),
    (rb"version https://git-lfs", Kind("a pointer of Git LFS", "fetch the file itself with git lfs pull")),
    (
        rb"(?i)(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg\b",
        Kind("an SVG drawing", "render it as PNG (rsvg-convert, Inkscape)"),
    ),
    (
        rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!DOCTYPE html|html|head|body)\b",
        Kind("a web page", "the picture's download has failed, or asks for a login"),
    ),
)
_TABLE = tuple((re.compile(beginning, re.DOTALL), kind) for beginning, kind in _BEGINNINGS)
"""Signatures; the first match wins."""

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2",
})  # fmt: skip


def kind_of(head: bytes) -> Kind | None:
    """Identify a file's kind; None if it is unknown.

    Formats without a signature (TGA, PCX, DIB) are not identified.

    Args:
        head: the first `HEAD` bytes, fewer for a shorter file.
    """
    if head[4:8] == b"ftyp":
        return _boxed(head)
    return next((kind for beginning, kind in _TABLE if beginning.match(head)), None)


def _boxed(head: bytes) -> Kind:
    """Identify an ISO base media file (HEIC, AVIF, Canon's RAW, videos) by all its brands."""
    end = min(max(int.from_bytes(head[:4], "big"), 16), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return Kind("AVIF")
    if brands & _HEIC_BRANDS:
        return HEIC
    return RAW if b"crx " in brands else VIDEO


# ---- decoding cost ---------------------------------------------------------------------------------------------------


MAX_SCANS = 100
"""Limit of a JPEG's scans: each decodes all pixels again. A progressive photo has about ten."""
MAX_PARTS = 200_000
"""Limit of a TIFF's strips or tiles, and of the values of any other field: each becomes an object."""

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, 0xD8, _END})
_TEXTS = frozenset({1, 2, 6, 7})
"""TIFF types that are kept as bytes."""


def excess(data: bytes) -> str | None:
    """Explain why a file costs far more to decode than its size and pixels suggest; None if it does not.

    Args:
        data: a whole file of any kind.
    """
    if data[:2] == b"\xff\xd8":
        # the first count is fast, and an upper bound
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
    """Yield the declared number of values of each field in a TIFF's first directory."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
        start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, 8 if big else 4)[0]
        entries = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, start)[0]
        first, step = (start + 8, 20) if big else (start + 2, 12)
        for number in range(min(entries, 65_535)):
            _, kind, count = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", data, first + number * step)
            # the decoder skips fields that do not fit into the file
            if kind not in _TEXTS and count <= len(data):
                yield count
    except (struct.error, IndexError, OverflowError):
        # damaged: the decoder reports it
        return


# ---- long PNG texts --------------------------------------------------------------------------------------------------


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_METADATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""Texts that may contain the orientation."""
_MAX_TEXT = 1 << 20
"""Bytes of a decompressed text; Pillow refuses the whole picture for a longer one."""


def without_long_texts(data: bytes) -> bytes:
    """Drop the metadata chunks of a PNG file that may be long: texts and colour profiles.

    A text that may contain the orientation is kept once, if it is shorter than 1 MiB decompressed. Nothing is
    decompressed beyond that.

    Args:
        data: a whole file. A file that is no PNG, and the rest of a damaged one, is returned unchanged.
    """
    if not data.startswith(_PNG_SIGNATURE):
        return data
    at, kept, start = len(_PNG_SIGNATURE), [], 0
    oriented: set[bytes] = set()
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if end > len(data):
            break
        if kind in _METADATA:
            keyword = data[at + 8 : at + 88].partition(b"\0")[0]
            if keyword in oriented or not _is_short_oriented(kind, data[at + 8 : end - 4]):
                kept.append(data[start:at])
                start = end
            else:
                oriented.add(keyword)
        at = end
    return b"".join([*kept, data[start:]]) if kept else data


def _is_short_oriented(kind: bytes, body: bytes) -> bool:
    if kind == b"iCCP" or not body.startswith(_ORIENTATION_TEXTS) or len(body) > _MAX_TEXT:
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
