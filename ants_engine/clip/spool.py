"""A temporary folder for the few pictures that must be looked at again and that nobody else keeps."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.clip.picture import png_bytes, shrink
from ants_engine.errors import StoreUnavailableError


class Spool:
    """A context manager around the folder, which is made with the first picture and removed at the end."""

    def __init__(self, parent: Path | None = None) -> None:
        """Choose the place.

        Args:
            parent: where the temporary folder is made; the system's place for such (``TMPDIR``) when empty.
        """
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, ref: ImageRef, image: Image.Image, max_side: int) -> ImageRef:
        """Write a decoded picture (blocking): lossless PNG, shrunk to a longest side of ``max_side`` pixels.

        Returns:
            A reference with the same index and name that is read back from the folder, until the spool is closed.

        Raises:
            StoreUnavailableError: the folder cannot be made or written, for instance because the disk is full.
        """
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="ants-spool-", dir=self._parent)
            path = Path(self._folder.name) / f"{ref.index}.png"
            path.write_bytes(png_bytes(shrink(image, max_side), compress_level=1))
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot keep {ref.name} in a temporary folder ({error.strerror}); "
                "make room there or point TMPDIR to another place"
            ) from error
        return ImageRef(ref.index, ref.name, ref.key, True, Held(path))

    def close(self) -> None:
        """Remove the folder and everything in it. May be called twice."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
