"""References to pictures, decoded on demand, and a temporary folder for those that nobody else keeps."""

import itertools
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from PIL import Image

from ants_engine.clip.decode import PictureSource, load_rgb, read_bytes
from ants_engine.clip.picture import png_bytes, shrink
from ants_engine.clip.web_address import address_name, web_scheme
from ants_engine.common.text_file import expand_home
from ants_engine.errors import ImageUnreadableError, StoreUnavailableError
from ants_engine.settings.config import ImageSettings


class Held:
    """A holder of a picture's source, which can be cleared while references to it live on."""

    __slots__ = ("__weakref__", "empty", "keeper", "source")

    def __init__(self, source: object, keeper: object = None) -> None:
        """Hold a source; ``keeper`` is kept alive as long."""
        self.source = source
        self.keeper = keeper
        self.empty = False

    def clear(self) -> None:
        """Drop the source."""
        self.source = None
        self.empty = True


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A reference to one picture; it holds no samples of its own for files and for what the user keeps alive."""

    index: int
    """Position in the input, from 0."""
    name: str
    """Display name: the path as given, a web address without its query, ``PIL.Image #3``, ``bytes #3``."""
    key: str | None
    """Absolute path of a file, equal for references to one file; ``None`` for a picture in memory."""
    rereadable: bool
    """It can be loaded at any time; otherwise only until `release` is called: keep it with a `Spool`."""
    held: Held = field(repr=False, compare=False)
    """The source itself."""

    def load(self, limits: ImageSettings) -> Image.Image:
        """Decode the picture (blocking); see `load_rgb`.

        Returns:
            A new upright picture of mode ``RGB``.

        Raises:
            ImageError: it cannot be used, or it came from a one-shot iterator and was released.
        """
        # `load_rgb` refuses other types
        return load_rgb(cast("PictureSource", self._source()), name=self.name, limits=limits)

    def read(self, limits: ImageSettings) -> bytes | None:
        """Read the picture's file undecoded (blocking); None for a decoded picture in memory.

        Raises:
            ImageError: as `load`.
        """
        return read_bytes(cast("PictureSource", self._source()), name=self.name, limits=limits)

    def _source(self) -> object:
        if self.held.empty:
            raise ImageUnreadableError(
                self.name, "came from a one-shot iterator or the web, and was let go after it was encoded"
            )
        return self.held.source

    def release(self) -> None:
        """Free the picture if only this reference keeps it alive; no effect on a rereadable one."""
        if not self.rereadable:
            self.held.clear()


def file_ref(index: int, path: "str | os.PathLike[str]", name: str | None = None) -> ImageRef:
    """Refer to a file, which need not exist."""
    return ImageRef(index, str(path) if name is None else name, _absolute(path), True, Held(path))


def object_ref(index: int, source: object, *, kept: bool) -> ImageRef:
    """Refer to an item of the input: a path, a web address, or a picture in memory.

    Args:
        index: position in the input.
        source: the item; `ImageRef.load` refuses other types.
        kept: the user's own container keeps the item alive, so that holding it costs no memory.
    """
    if isinstance(source, str) and web_scheme(source):
        # fetched once: afterwards it is kept like a picture from a one-shot iterator
        return ImageRef(index, address_name(source, index), None, False, Held(source))
    if isinstance(source, str | Path):
        return file_ref(index, expand_home(source), str(source))
    return ImageRef(index, f"{_kind(source)} #{index}", None, kept, Held(source))


def _absolute(path: "str | os.PathLike[str]") -> str:
    return Path(path).absolute().as_posix()


def _kind(source: object) -> str:
    if isinstance(source, Image.Image):
        return "PIL.Image"
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    cls = type(source)
    if cls.__module__ == "numpy" and cls.__qualname__ == "ndarray":
        return "array"
    return "item"


class Spool:
    """A temporary folder of pictures, created with the first one; `close` removes it.

    Otherwise a file lives as long as a reference to it, and the folder as long as the spool or any such reference.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Choose the place.

        Args:
            parent: where the folder is created; the system's temporary directory (``TMPDIR``) by default.
        """
        self._parent = parent
        self._folder: Path | None = None
        self._numbers = itertools.count()
        self._remove: weakref.finalize[[str], Spool] | None = None

    def put(self, ref: ImageRef, image: Image.Image, max_side: int) -> ImageRef:
        """Write a decoded picture (blocking): lossless PNG, shrunk to a longest side of ``max_side`` pixels.

        Returns:
            A reference with the same index and name to the written file, which is deleted with its last reference.

        Raises:
            StoreUnavailableError: the folder cannot be created or written, for instance because the disk is full.
        """
        try:
            if self._folder is None:
                made = tempfile.mkdtemp(prefix="ants-spool-", dir=self._parent)
                self._folder = Path(made)
                self._remove = weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
            # several streams may share the spool, so a picture's index is not unique
            path = self._folder / f"{next(self._numbers)}.png"
            path.write_bytes(png_bytes(shrink(image, max_side)))
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot keep {ref.name} in a temporary folder ({error.strerror}); "
                "make room there or point TMPDIR to another place"
            ) from error
        held = Held(path, keeper=self)
        weakref.finalize(held, path.unlink, missing_ok=True).atexit = False
        return ImageRef(ref.index, ref.name, None, True, held)

    def close(self) -> None:
        """Remove the folder and everything in it. May be called twice."""
        if self._remove is not None:
            self._remove()
        self._folder = None
