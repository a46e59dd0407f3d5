"""Finding picture files: below a folder, by a glob pattern, or named in a list file."""

import codecs
import csv
import difflib
import glob
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ants_engine.clip.formats import HEAD, RAW_SUFFIXES, kind_of
from ants_engine.clip.web_address import web_scheme
from ants_engine.common.text_file import expand_home
from ants_engine.errors import NoImagesError, UsageError

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jxl", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
    ".pcx", ".qoi",
})  # fmt: skip
"""Lower-case suffixes of picture files; their content is not examined when a folder is listed."""

OTHER_SUFFIXES = RAW_SUFFIXES | frozenset({
    ".7z", ".avi", ".bin", ".bz2", ".cfg", ".csv", ".db", ".doc", ".docx", ".gz", ".h5", ".htm", ".html", ".ini",
    ".ipynb", ".js", ".json", ".jsonl", ".lock", ".log", ".mat", ".md", ".mkv", ".mov", ".mp4", ".npy", ".npz",
    ".parquet", ".pdf", ".pickle", ".pkl", ".pt", ".pth", ".py", ".rar", ".rst", ".safetensors", ".svg", ".tar", ".tgz",
    ".toml", ".tsv", ".txt", ".webm", ".xls", ".xlsx", ".xml", ".xmp", ".yaml", ".yml", ".zip",
})  # fmt: skip
"""Suffixes of other files, which are not opened. Files with neither are identified by their first bytes."""

CLUTTER = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin", "__macosx",
    "system volume information", "lost+found",
})  # fmt: skip
"""Lower-case names of files and folders that operating systems create; ignored like hidden files."""


@dataclass(slots=True)
class Listing:
    """The files of a folder or a pattern."""

    pictures: list[Path] = field(default_factory=list)
    """In order. Unreadable folders and broken links are among them, so that loading them reports an error."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of files that are no pictures, by lower-case suffix. Hidden files and `CLUTTER` are not counted."""


def pictures_below(folder: Path) -> Listing:
    """List the picture files below a folder, sorted by their path within it as a POSIX string.

    A file is a picture by its suffix (`SUFFIXES`) or, with an unknown suffix or none, by its first bytes. Hidden files
    and folders and `CLUTTER` are skipped. Links are followed, without loops; a file that is reached twice counts once,
    under its real path if that lies in the folder.

    Returns:
        Paths that begin with ``folder`` as given.

    Raises:
        OSError: the folder itself cannot be read.
    """
    walk = _walk(folder, "**")
    found = _sorted_out(walk.files)
    found.pictures = sorted([*found.pictures, *walk.unreadable], key=lambda path: path.relative_to(folder).as_posix())
    return found


def pictures_matching(pattern: str) -> Listing:
    """List the files that a glob pattern matches, sorted as POSIX strings; ``**`` is any number of folders.

    A pattern whose last part has a dot (``*.jpg``) selects all its matches; another one (``photos/*``) only those that
    are pictures, as in a folder. A file reached twice counts once; hidden files need a pattern with a leading dot.

    Raises:
        OSError: the folder that the pattern begins with cannot be read.
    """
    parts = PurePosixPath(Path(pattern).as_posix()).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed]) if fixed else Path()
    if not root.is_dir():
        return Listing()
    walk = _walk(root, *parts[fixed:])
    found = Listing(walk.files) if "." in parts[-1] else _sorted_out(walk.files)
    together = sorted([*found.pictures, *walk.unreadable], key=lambda path: path.as_posix())
    return Listing(_without_repeats(together), found.left_out)


def is_clutter(name: str) -> bool:
    """Return whether a file or folder is hidden, or in `CLUTTER`."""
    return name.startswith(".") or name.lower() in CLUTTER


def left_out_note(left_out: Mapping[str, int]) -> str | None:
    """Describe how many files were left out, by suffix; None where there were none."""
    count = sum(left_out.values())
    if not count:
        return None
    kinds = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{number} × {suffix}" for suffix, number in kinds[:8]]
    if len(kinds) > 8:
        shown.append(f"{sum(number for _, number in kinds[8:])} others")
    files = "1 file that is not a picture" if count == 1 else f"{count} files that are not pictures"
    return f"left out {files}: {', '.join(shown)}"


def _sorted_out(files: Iterable[Path]) -> Listing:
    found = Listing()
    for path in files:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES or (suffix not in OTHER_SUFFIXES and _begins_like_a_picture(path)):
            found.pictures.append(path)
        else:
            found.left_out[suffix[:16] or "no ending"] += 1
    return found


def _begins_like_a_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
    except OSError:
        # loading it as a picture reports why it cannot be read
        return True
    return kind is not None and kind.is_picture


class _Pattern:
    """A glob pattern over the parts of a path, matched part by part, so that a folder that cannot match is not entered.

    A state is the set of numbers of pattern parts that a path so far may have consumed.
    """

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts = parts
        self.recursive = "**" in parts
        """It matches at any depth."""
        self.start = self._closed({0})

    def step(self, state: frozenset[int], name: str) -> frozenset[int]:
        """Return the state after one more part of a path; empty where nothing below can match."""
        wanted = [(at, self._parts[at]) for at in state if at < len(self._parts)]
        # clutter is never matched, hidden names only by a leading dot
        if is_clutter(name) and (name.lower() in CLUTTER or not any(part.startswith(".") for _, part in wanted)):
            return frozenset()
        after = {at if part == "**" else at + 1 for at, part in wanted if part == "**" or fnmatchcase(name, part)}
        return self._closed(after)

    def matches(self, state: frozenset[int]) -> bool:
        """Return whether a path that led to this state is matched."""
        return len(self._parts) in state

    def leads_on(self, state: frozenset[int]) -> bool:
        """Return whether anything below a folder that led to this state could be matched."""
        return any(at < len(self._parts) for at in state)

    def _closed(self, state: set[int]) -> frozenset[int]:
        # "**" also stands for no part at all
        for at, part in enumerate(self._parts):
            if at in state and part == "**":
                state.add(at + 1)
        return frozenset(state)


class _Walk:
    """Walks real folders first, then linked ones."""

    def __init__(self, folder: Path, pattern: _Pattern) -> None:
        self._folder = folder
        self._pattern = pattern
        self._waiting = [(folder, pattern.start)]
        self._linked: list[tuple[Path, frozenset[int]]] = []
        self._linked_files: list[Path] = []
        self._places: set[str] = set()
        self._seen: set[str] = set()
        self.files: list[Path] = []
        """The matches, broken links among them."""
        self.unreadable: list[Path] = []
        """Folders that cannot be read."""

    def run(self) -> None:
        """Walk.

        Raises:
            OSError: the folder itself cannot be read.
        """
        while self._waiting or self._linked:
            if not self._waiting:
                self._linked.sort(key=lambda pair: pair[0].as_posix(), reverse=True)
                self._waiting.append(self._linked.pop())
            here, state = self._waiting.pop()
            try:
                self._enter(here, state)
            except OSError:
                if here == self._folder:
                    raise
                self.unreadable.append(here)
        linked = _without_repeats(sorted(self._linked_files, key=lambda path: path.as_posix()))
        self.files += [path for path in linked if os.path.realpath(path) not in self._seen and _is_file_or_gone(path)]

    def _enter(self, here: Path, state: frozenset[int]) -> None:
        place = os.path.realpath(here)
        # a pattern of bounded depth cannot loop, and may match one place in two ways
        if place in self._places and self._pattern.recursive:
            return
        self._places.add(place)
        with os.scandir(here) as scan:
            inside = sorted(scan, key=lambda entry: entry.name)
        for entry in inside:
            after = self._pattern.step(state, entry.name)
            if after:
                self._take(entry, here / entry.name, place, after)

    def _take(self, entry: "os.DirEntry[str]", path: Path, place: str, state: frozenset[int]) -> None:
        linked = entry.is_symlink()
        # pathlib's is_dir raises where a link leads into a folder without permission
        if os.path.isdir(path) if linked else entry.is_dir(follow_symlinks=False):  # noqa: PTH112
            if self._pattern.leads_on(state):
                (self._linked if linked else self._waiting).append((path, state))
        elif self._pattern.matches(state):
            if linked:
                self._linked_files.append(path)
            elif entry.is_file(follow_symlinks=False):
                self._seen.add(os.path.join(place, entry.name))  # noqa: PTH118
                self.files.append(path)


def _walk(folder: Path, *parts: str) -> _Walk:
    walk = _Walk(folder, _Pattern(parts))
    walk.run()
    return walk


def _is_file_or_gone(path: Path) -> bool:
    return os.path.isfile(path) or not os.path.exists(path)  # noqa: PTH110, PTH113  # these never raise


def _without_repeats(paths: list[Path]) -> list[Path]:
    """Keep the first of the paths that lead to one file."""
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(os.path.realpath(path), path)
    return list(first.values())


# ---- list files ------------------------------------------------------------------------------------------------------


TABLES = frozenset({".csv", ".tsv"})
COLUMNS = frozenset({
    "path", "filepath", "file_path", "image_path", "img_path", "picture", "picture_path", "image", "img", "file",
    "filename", "file_name", "url", "image_url",
})  # fmt: skip
"""Lower-case column headings that mean pictures."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_picture_list(source: Path, column: str | None = None, option: str = "--column") -> list[str]:
    """Read a list of files, folders, patterns or web addresses, in its order and with its repetitions.

    Relative paths begin at the list's own folder; if none of them exists there, at the working directory.

    Args:
        source: one path a line, without blank lines and lines that begin with ``#``; or, where the name ends in
            ``.csv`` or ``.tsv`` or a column is named, a table. UTF-8, or UTF-16 with a byte order mark; file names in
            other encodings survive.
        column: the table's column; by default the one whose heading (`COLUMNS`) or first cell means pictures.
        option: the option's name in errors.

    Raises:
        UsageError: it cannot be read, or has no such column; names the columns that there are.
        NoImagesError: nothing is in it.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror or error}") from None
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    text = data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "replace")
    if column is not None or source.suffix.lower() in TABLES:
        paths = _of_table(text, source, column, option)
    else:
        lines = [line.strip() for line in text.splitlines()]
        paths = [line for line in lines if line and not line.startswith("#")]
        if all(len(path) > 2 and path[0] == path[-1] == '"' for path in paths):
            # quoted, as Windows copies paths
            paths = [path[1:-1] for path in paths]
    if not paths:
        raise NoImagesError(f"{source}: no picture is named in it")
    return _anchored(paths, source.parent)


def _of_table(text: str, source: Path, column: str | None, option: str) -> list[str]:
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=(.)"?', first.strip())
    if said is not None:
        # Excel's delimiter line
        text, delimiter = rest, said[1]
    else:
        delimiter = "\t" if source.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    try:
        rows = [
            (number, [cell.strip() for cell in row])
            for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise UsageError(f"{source}: cannot be read as a table: {error}") from None
    if not rows:
        return []
    place, has_headings = _column(rows[0][1], source, column, option)
    paths = []
    for number, row in rows[1 if has_headings else 0 :]:
        if place >= len(row) or not row[place]:
            raise UsageError(f"{source}, row {number}: no path in column {place + 1}")
        paths.append(row[place])
    return paths


def _column(first: Sequence[str], source: Path, wanted: str | None, option: str) -> tuple[int, bool]:
    """Return the column's number, and whether the first row holds headings."""
    lower = [cell.lower() for cell in first]
    there = ", ".join(first)
    if wanted is not None:
        if wanted.strip().lower() in lower:
            return lower.index(wanted.strip().lower()), True
        near = difflib.get_close_matches(wanted.lower(), lower, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"{source}: no column {wanted!r}{hint} Its columns: {there}")
    named = [place for place, cell in enumerate(lower) if cell in COLUMNS]
    if len(named) == 1:
        return named[0], True
    pictures = [place for place, cell in enumerate(lower) if os.path.splitext(cell)[1] in SUFFIXES]  # noqa: PTH122
    if not named and len(pictures) == 1:
        return pictures[0], False
    if len(first) == 1:
        return 0, False
    raise UsageError(f"{source}: which of its columns names the pictures? Say so with {option}: {there}")


def _anchored(paths: Sequence[str], folder: Path) -> list[str]:
    relative = [
        web_scheme(path) is None and not path.startswith("~") and not Path(path).is_absolute() for path in paths
    ]
    beside = [str(folder / path) if own else path for path, own in zip(paths, relative, strict=True)]
    if folder == Path() or not any(relative):
        return list(paths)
    there = any(own and os.path.lexists(path) for path, own in zip(beside, relative, strict=True))
    here = any(own and os.path.lexists(expand_home(path)) for path, own in zip(paths, relative, strict=True))
    # patterns exist at neither place, and begin at the list's folder
    return list(paths) if here and not there else beside
