"""Finding picture files: below a folder, or by a glob pattern."""

import fnmatch
import glob
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".avif",
    ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".qoi",
})  # fmt: skip
"""Lower-case file name endings that count as a picture in a folder."""


def pictures_below(folder: Path) -> list[Path]:
    """List the picture files below a folder, sorted by their path within it as a POSIX string.

    Hidden files and folders are skipped. Links are followed; a loop ends, and a file that is reached twice counts
    once, under its real place if that lies in the folder. A link to nothing is listed, so that reading it says so.

    Returns:
        Paths that begin with ``folder`` as given.

    Raises:
        OSError: the folder itself cannot be read. (A folder below it that cannot be is logged and skipped.)
    """
    found = [path for path in _files_below(folder) if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def pictures_matching(pattern: str) -> list[Path]:
    """List the files that a glob pattern matches, sorted as POSIX strings; ``**`` is any number of folders.

    A pattern whose last part has a dot (``*.jpg``) is taken at its word; one without (``photos/*``) matches files with
    a picture's suffix only. A file reached twice counts once; hidden ones need a pattern with a leading dot.
    """
    parts = PurePosixPath(Path(pattern).as_posix()).parts
    if "**" in parts:
        # glob.glob follows links in `**` for ever where two of them make a loop
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        root = Path(*parts[:fixed]) if fixed else Path()
        files = _files_below(root) if root.is_dir() else iter(())
        matched = [path for path in files if _matches(path.relative_to(root).parts, parts[fixed:])]
    else:
        matched = [path for path in map(Path, glob.glob(pattern)) if not path.is_dir()]  # noqa: PTH207
    if "." not in parts[-1]:
        matched = [path for path in matched if path.suffix.lower() in SUFFIXES]
    return _without_repeats(sorted(matched, key=lambda path: path.as_posix()))


def _files_below(folder: Path) -> Iterator[Path]:
    """Walk real folders first, then linked ones, each real place once."""
    entries: list[Path] = []
    links: list[Path] = []
    waiting = [folder]
    places = set()
    seen_files = set()
    while waiting or links:
        if not waiting:
            links.sort(key=lambda path: path.as_posix(), reverse=True)
            waiting.append(links.pop())
        here = waiting.pop()
        place = os.path.realpath(here)
        if place in places:
            continue
        places.add(place)
        try:
            with os.scandir(here) as scan:
                inside = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if here == folder:
                raise
            logger.warning("%r: skipped, it cannot be read (%s)", str(here), error.strerror)
            continue
        for entry in inside:
            path = here / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                (links if path.is_dir() else entries).append(path)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                seen_files.add(os.path.join(place, entry.name))  # noqa: PTH118
                yield path
    for path in _without_repeats(sorted(entries, key=lambda path: path.as_posix())):
        if os.path.realpath(path) not in seen_files and (path.is_file() or not path.exists()):
            yield path


def _without_repeats(paths: list[Path]) -> list[Path]:
    """Keep the first of the paths that lead to one file."""
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(os.path.realpath(path), path)
    return list(first.values())


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Match path parts against pattern parts; reach[i] says that the pattern so far can end before part i."""
    reach = [True] + [False] * len(parts)
    for piece in pattern:
        if piece == "**":
            for i in range(1, len(parts) + 1):
                reach[i] = reach[i] or reach[i - 1]
        else:
            reach = [False] + [reach[i] and fnmatch.fnmatchcase(part, piece) for i, part in enumerate(parts)]
    return reach[-1]
