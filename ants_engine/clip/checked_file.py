"""A file that counts only while its content is what it was."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from ants_engine.errors import ImageRefusedError

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A picture's file as something else than its user named it, such as a saved detector.

    Whoever wrote that may have named any file at all; only who has seen a file knows its digest.
    """

    path: str
    """Absolute."""
    sha256: str | None
    """Hex digest of the content, or None where it was not noted: the file is then never used."""
    is_copy: bool = False
    """It lies in the detector's own folder, where nothing has to be a link."""

    def check_place(self, name: str) -> None:
        """Refuse before anything is read.

        Raises:
            ImageRefusedError: there is no digest, or a link where a copy should be.
        """
        if self.sha256 is None:
            raise ImageRefusedError(
                name,
                "was saved without the sha256 of its content, so it may be another file by now, and is not shown; "
                "stream it again to have it looked at",
            )
        path = Path(self.path)
        if self.is_copy and (path.is_symlink() or path.parent.is_symlink()):
            raise ImageRefusedError(name, "is a link where the detector's folder should hold a copy, and is not shown")

    def check_content(self, data: bytes, name: str) -> None:
        """Refuse what is not what was saved.

        Raises:
            ImageRefusedError: the content has another digest.
        """
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageRefusedError(
                name,
                "is not the file that was saved (the sha256 of its content differs), and is not shown; "
                "stream it again to have it looked at",
            )


def file_sha256(path: str | Path) -> str | None:
    """Return the hex digest of a regular file's content (blocking); None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        # opening a pipe or a device could block for ever
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return None
        with Path(path).open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()
