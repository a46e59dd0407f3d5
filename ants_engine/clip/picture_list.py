"""Lists of pictures as files: a path a line, or a CSV or TSV file with a column of paths."""

import codecs
import csv
import difflib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ants_engine.clip.decode import at_home
from ants_engine.clip.folder import SUFFIXES
from ants_engine.clip.web_address import web_scheme
from ants_engine.errors import NoImagesError, UsageError

TABLES = frozenset({".csv", ".tsv"})
COLUMNS = frozenset({
    "path", "filepath", "file_path", "image_path", "img_path", "picture", "picture_path", "image", "img", "file",
    "filename", "file_name", "url", "image_url",
})  # fmt: skip
"""Headings, in lower case, that say by themselves that pictures are named below."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_picture_list(source: Path, column: str | None = None, option: str = "--column") -> list[str]:
    """Read what a list names: files, folders, patterns or web addresses, in its order and as often as it names them.

    A relative path begins at the list's own folder; if nothing that the list names is there, at the working folder.

    Args:
        source: one path a line, blank lines and lines that begin with ``#`` left out; or, where the name ends in
            ``.csv`` or ``.tsv`` or a column is named, a table. Text is UTF-8, or UTF-16 with its mark; other bytes of
            names survive.
        column: the table's column. Left out, it is the one whose heading (`COLUMNS`) or whose first cell says that it
            holds pictures.
        option: what an error calls the option that names the column.

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
            # as Windows copies paths
            paths = [path[1:-1] for path in paths]
    if not paths:
        raise NoImagesError(f"{source}: no picture is named in it")
    return _anchored(paths, source.parent)


def _of_table(text: str, source: Path, column: str | None, option: str) -> list[str]:
    first, _, rest = text.partition("\n")
    said = re.fullmatch(r'"?sep=(.)"?', first.strip())
    if said is not None:
        # Excel's own line
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
    """Return which column it is, and whether the first row holds headings."""
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
    here = any(own and os.path.lexists(at_home(path)) for path, own in zip(paths, relative, strict=True))
    # patterns exist at neither place, and then begin beside the list
    return list(paths) if here and not there else beside
