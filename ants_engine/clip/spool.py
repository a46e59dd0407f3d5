"""A temporary folder for the few pictures that must be looked at again and that nobody else keeps."""

import itertools
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.clip.picture import shrink
from ants_engine.clip.png import png_bytes
from ants_engine.errors import StoreUnavailableError


class Spool:
    """Made with the first picture; `close`, or leaving the context, removes it.

    Otherwise a file lives as long as a reference to it, and the folder as long as the spool or any such reference.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Choose the place.

        Args:
            parent: where the temporary folder is made; the system's place for such (``TMPDIR``) when empty.
        """
        self._parent = parent
        self._folder: Path | None = None
        self._numbers = itertools.count()
        self._remove: weakref.finalize[[str], Spool] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, ref: ImageRef, image: Image.Image, max_side: int) -> ImageRef:
        """Write a decoded picture (blocking): lossless PNG, shrunk to a longest side of ``max_side`` pixels.

        Returns:
            A reference with the same index and name that is read back from the folder. When the last such reference is
            gone, so is the file.

        Raises:
            StoreUnavailableError: the folder cannot be made or written, for instance because the disk is full.
        """
        try:
            if self._folder is None:
                made = tempfile.mkdtemp(prefix="ants-spool-", dir=self._parent)
                self._folder = Path(made)
                self._remove = weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
            # pictures of several streams may meet here, so a picture's own index is no name for it
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
