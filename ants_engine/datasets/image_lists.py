"""Image lists as OpenOOD keeps them: one ``relative/path label`` a line.

Source: OpenOOD v1.5, arXiv 2306.09301, ``benchmark_imglist/<id>/test_<name>.txt``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ants_engine.common.text_file import read_text
from ants_engine.errors import ImageNotFoundError, UsageError

OOD_LABEL = -1
"""What a list writes for a picture of no ID class."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One line of a list."""

    path: Path
    """The root and the relative path together."""
    label: int
    """Class index, or -1 for OOD."""


def read_image_list(list_file: Path | str, root: Path | str, *, check_files: bool = True) -> list[ListedImage]:
    """Read an image list.

    A line is split at its first space, so a path in a list holds none. Blank lines and lines that begin with ``#`` are
    skipped.

    Args:
        list_file: the list, in UTF-8, or UTF-16 with its mark; the names of files that are there may be any bytes.
        root: folder that the paths are relative to.
        check_files: look whether every picture is there.

    Raises:
        UsageError: the list is missing, not UTF-8 or empty; a line (named by its number) is of another form, its label
            is no whole number from -1 up, or its path leads out of ``root``.
        ImageNotFoundError: a picture is not there.
    """
    list_file, root = Path(list_file), Path(root)
    try:
        text = read_text(list_file, "surrogateescape")
    except FileNotFoundError:
        raise UsageError(f"there is no image list {list_file}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{list_file} is not UTF-8: is it an image list?") from None
    except OSError as error:
        raise UsageError(f"the image list {list_file} cannot be read: {error}") from error
    images = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            if not _is_utf8(stripped) and not (root / stripped.partition(" ")[0]).exists():
                # the bytes of a file's name are its own business; a list in another encoding is a mistake
                raise UsageError(f"{list_file} is not UTF-8: is it an image list?")
            images.append(_image(stripped, root, f"{list_file}, line {number}", check_files=check_files))
    if not images:
        raise UsageError(f"{list_file} lists no picture")
    return images


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _image(line: str, root: Path, where: str, *, check_files: bool) -> ListedImage:
    name, space, label_text = line.partition(" ")
    if not space:
        hint = " (separate them by a space, not by a tab or comma)" if "\t" in line or "," in line else ""
        raise UsageError(f"{where}: {line[:80]!r} is not 'relative/path label'{hint}")
    if re.fullmatch(r"-?[0-9]+", label_text.strip()) is None:
        raise UsageError(
            f"{where}: the label {label_text.strip()[:80]!r} is not a whole number "
            "(a line is split at its first space: a path must not hold one)"
        )
    label = int(label_text)
    if label < OOD_LABEL:
        raise UsageError(f"{where}: the label {label} is below -1")
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UsageError(f"{where}: the path {name!r} leads out of the list's root; make it relative to {root}")
    path = root / relative
    if check_files and not path.is_file():
        raise ImageNotFoundError(str(path), f"listed in {where}, and not there")
    return ListedImage(path=path, label=label)
