"""Class names out of a file, as people and programs write such files: what has one meaning is read, the rest refused.

Read are: one name a line, with or without bullets, quotes or a comma at the end; lines numbered from 0 or 1 on, before
or behind the name; WordNet's ids before the name; JSON (or what Python prints) lists, index → name and name → index,
``id2label`` of a model, and the categories of COCO; one column of a CSV, TSV or Markdown table, named where there is a
heading.
"""

import ast
import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ants_engine.common.text_file import read_text
from ants_engine.detector.class_list import HEADINGS, ID_HEADINGS, without_numbers, without_wordnet_ids
from ants_engine.errors import ClassListError
from ants_engine.method.class_names import same_name

_NAME_HEADINGS = HEADINGS - ID_HEADINGS
_TABLES = {".csv": None, ".tsv": "\t", ".tab": "\t"}
_DELIMITERS = "\t;,|"
_NUMBER_BEHIND = re.compile(r"(.*\S)(?:\s+|\s*[,;:]\s*)(\d+)")
_BULLET = re.compile(r"[-*•·]\s+")
_QUOTED = re.compile(r"(['\"])(.+)\1")
_LISTS = ("names", "classes", "labels", "class_names", "id2label", "label2id", "class_to_idx", "categories")
_NAME_KEYS = ("name", "class_name", "label", "title", "class")
_DEEPEST = 5
_STAND_IN = re.compile(r"(?:label|class|category|id|cls)[_-]?\d+", re.IGNORECASE)
MOST_DIGITS = 10
"""So many names that are numbers may be the digits themselves."""
_RULE = re.compile(r"[|:\s-]*-[|:\s-]*")
# of WordNet, and of Freebase as Open Images has them
_ID = re.compile(r"n\d{8}|/[mg]/[0-9a-z_]+")


def read_class_file(path: Path, column: str | None = None) -> list[str]:
    """Read the class names in a file, in its order.

    Blank lines and lines that begin with ``#`` are skipped. UTF-8, or UTF-16 with its mark.

    Args:
        path: the file.
        column: of a table, the heading of the column with the names, or its number from 1 on.

    Raises:
        ClassListError: it cannot be read, names nothing, or could be meant in several ways: says what to do.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ClassListError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        hint = "; give a file with one class name a line" if path.is_dir() else ""
        raise ClassListError(f"{path} cannot be read: {error.strerror or error}{hint}") from None
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ClassListError(f"{path}: YAML is not read here; write one class name a line, or a JSON list")
    return parse_class_text(text, str(path), path.suffix.lower(), column)


def parse_class_text(text: str, where: str, suffix: str = "", column: str | None = None) -> list[str]:
    """Read the class names in the text of a file.

    Args:
        text: of the file.
        where: what an error calls it.
        suffix: the file's ending with its dot, lower case: whether commas part cells (``.csv``) or synonyms.
        column: as for `read_class_file`.

    Raises:
        ClassListError: as for `read_class_file`.
    """
    names = _names_in(text, where, suffix, column)
    counted = all(map(_STAND_IN.fullmatch, names)) or (len(names) > MOST_DIGITS and all(map(str.isdecimal, names)))
    if counted and len(names) > 1:
        raise ClassListError(
            f"{where}: {names[0]!r}, {names[1]!r} and all others only number the classes; write what they are called"
        )
    return names


def _names_in(text: str, where: str, suffix: str, column: str | None) -> list[str]:
    if suffix == ".json" or text.lstrip().startswith(("[", "{")):
        return _from_json(text, where, column)
    lines = [line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    separator = re.fullmatch(r'"?sep=(.)"?', lines[0].strip()) if lines else None
    if separator is not None:
        # Excel's own line
        lines = lines[1:]
    if not lines:
        hint = " (lines that begin with # are comments)" if "#" in text else ""
        raise ClassListError(f"{where} names no class{hint}; write one name a line")
    if len(lines) > 2 and _RULE.fullmatch(lines[1]) and all("|" in line for line in lines):
        # Markdown's table
        lines = [line.strip().removeprefix("|").removesuffix("|") for line in (lines[0], *lines[2:])]
        return _from_table(lines, "|", where, column)
    delimiter = separator[1] if separator is not None else _delimiter(lines, suffix, column)
    if delimiter is None and column is None:
        return _from_lines(lines, where, headed=suffix in _TABLES)
    return _from_table(lines, delimiter or ",", where, column)


def _delimiter(lines: list[str], suffix: str, column: str | None) -> str | None:
    """Return what parts the cells of a table; None where the lines are none."""
    cut = [line.rstrip().rstrip(",;") for line in lines]
    fixed = _TABLES.get(suffix)
    for mark in fixed or _DELIMITERS:
        counts = {len(row) for row in csv.reader(cut, delimiter=mark, skipinitialspace=True)}
        same = len(counts) == 1 and counts != {1}
        heading = [_heading(cell) for cell in cut[0].split(mark)]
        is_headed = len(heading) > 1 and all(cell in HEADINGS for cell in heading)
        # in a text file commas and bars part synonyms, unless a line of headings says otherwise
        if is_headed or (same and (mark == "\t" or suffix in _TABLES or column is not None)):
            return mark
    return None


def _from_table(lines: list[str], delimiter: str, where: str, column: str | None) -> list[str]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)]
    width = max(len(row) for row in rows)
    while width > 1 and not any(len(row) >= width and row[width - 1] for row in rows):
        width -= 1
    rows = [[*row, *[""] * (width - len(row))] for row in rows]
    headings = rows[0] if _has_headings(rows) or (column is not None and _place(rows[0], column) is not None) else None
    place = None
    if column is not None:
        place = _place(headings or [""] * width, column)
        if place is None and column.isdigit() and 1 <= int(column) <= width:
            place = int(column) - 1
        if place is None:
            there = ", ".join(headings) if headings else f"1 to {width}"
            raise ClassListError(f"{where}: no column {column!r}; there are: {there}")
    elif width == 1:
        place = 0
    elif headings is None:
        named = [index for index in range(width) if not all(_is_index(row[index]) for row in rows)]
        numbered = without_numbers([f"{row[0]} {row[-1]}" for row in rows]) if width == 2 else None
        with_ids = width == 2 and all(_ID.fullmatch(row[0]) for row in rows)
        if named == [1] and (numbered is not None or with_ids):
            place = 1
    if place is None:
        shown = ", ".join(headings) if headings else f"{width} columns, first line {' | '.join(rows[0])[:60]!r}"
        guess = _guess(rows, headings)
        raise ClassListError(
            f"{where} is a table ({shown}); say which column holds the class names: --column {guess}, or write one "
            "name a line" + ("" if headings else " (commas between synonyms: save it as .txt)")
        )
    names = [row[place] for row in rows[0 if headings is None else 1 :]]
    blank = next((number for number, name in enumerate(names, 1) if not name), None)
    if blank is not None or not names:
        raise ClassListError(f"{where}: row {blank or 1} of the table has no class name in column {place + 1}")
    return names


def _from_lines(lines: list[str], where: str, *, headed: bool) -> list[str]:
    names = [line.strip().rstrip(",;").strip() for line in lines]
    names = [name for name in names if name]
    if all(_BULLET.match(name) for name in names):
        names = [_BULLET.sub("", name, count=1) for name in names]
    names = [quoted[2].strip() if (quoted := _QUOTED.fullmatch(name)) else name for name in names]
    if headed and len(names) > 1 and _heading(names[0]) in _NAME_HEADINGS:
        names = names[1:]
    if len(names) == 1 and len(parts := [part for part in re.split(r"\s*[,;]\s*", names[0]) if part]) > 1:
        raise ClassListError(
            f"{where}: one line with {len(parts)} names ({parts[0]}, {parts[1]}, …); write one name a line"
        )
    # a list may have both: "n02119789 1 kit_fox", "1 001.Black_footed_Albatross"
    for _ in range(2):
        names = without_wordnet_ids(names) or without_numbers(names) or names
    return _without_numbers_behind(names) or names


def _without_numbers_behind(names: list[str]) -> list[str] | None:
    """Return the names of lines that end in 0, 1, 2 and so on without these; None where they do not."""
    turned = [f"{match[2]} {match[1]}" for name in names if (match := _NUMBER_BEHIND.fullmatch(name))]
    return without_numbers(turned) if len(turned) == len(names) > 2 else None


def _from_json(text: str, where: str, column: str | None) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = _python_literal(text)
        if value is None:
            raise ClassListError(f"{where}: not valid JSON: {error}") from None
    if isinstance(value, dict):
        found = _listed_in(value, _LISTS if column is None else (column,))
        value = value if found is None else found
    names = _from_mapping(value) if isinstance(value, dict) else value
    if isinstance(names, list) and names and all(isinstance(name, dict) for name in names):
        names = _of_objects(names, column)
    if isinstance(names, list) and all(isinstance(name, list) for name in names):
        # Keras' class index: ["n01440764", "tench"]
        names = [_one_name(name) for name in names]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ClassListError(
            f'{where}: JSON of another form; write a list of names, ["lion", "panda"], or index → name, {{"0": "lion"}}'
        )
    return list(names)


def _python_literal(text: str) -> Any:
    """Return a list or a mapping as Python prints it; None of anything else."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, dict):
        return {str(key): each for key, each in value.items()}
    return value if isinstance(value, list) else None


def _listed_in(value: dict[str, Any], keys: Sequence[str], depth: int = 0) -> Any:
    """Return the list or mapping under one of the keys, in an inner object too if only one has any."""
    for key in keys:
        if isinstance(value.get(key), (dict, list)):
            # a data set's "label" is itself an object with "names"
            inner = _listed_in(value[key], keys, depth + 1) if isinstance(value[key], dict) else None
            return value[key] if inner is None else inner
    if depth == _DEEPEST:
        return None
    inner = [_listed_in(each, keys, depth + 1) for each in value.values() if isinstance(each, dict)]
    found = [each for each in inner if each is not None]
    return found[0] if len(found) == 1 else None


def _of_objects(rows: list[dict[str, Any]], column: str | None) -> list[Any] | None:
    """Return the names of COCO's categories and their like, in the order of the list."""
    keys = _NAME_KEYS if column is None else (column,)
    key = next((key for key in keys if all(isinstance(row.get(key), str) for row in rows)), None)
    return None if key is None else [row[key] for row in rows]


def _from_mapping(value: dict[str, Any]) -> list[Any] | None:
    """Return names by their index: of index → name, or name → index; None of another mapping."""
    if value and all(isinstance(index, int) and not isinstance(index, bool) for index in value.values()):
        value = {str(index): name for name, index in value.items()} if len({*value.values()}) == len(value) else {}
    if not value or not all(key.isdecimal() for key in value):
        return None
    ordered = sorted(value, key=int)
    runs = [int(key) for key in ordered] == list(range(int(ordered[0]), int(ordered[0]) + len(ordered)))
    return [value[key] for key in ordered] if runs and int(ordered[0]) in (0, 1) else None


def _one_name(cells: Sequence[Any]) -> Any:
    named = [cell for cell in cells if isinstance(cell, str) and not _is_index(cell)]
    return named[0] if len(named) == 1 else None


def _heading(cell: str) -> str:
    return same_name(cell.strip().strip("\"'").replace("_", " ").replace("-", " "))


def _is_index(cell: str) -> bool:
    return re.fullmatch(r"[-+]?\d+(?:\.\d+)?", cell) is not None or _ID.fullmatch(cell) is not None


def _has_headings(rows: list[list[str]]) -> bool:
    first, rest = rows[0], rows[1:]
    if any(_heading(cell) in HEADINGS for cell in first) and not any(_is_index(cell) for cell in first):
        return True
    return bool(rest) and any(
        not _is_index(cell) and all(_is_index(row[index]) for row in rest) for index, cell in enumerate(first)
    )


def _place(headings: list[str], column: str) -> int | None:
    wanted = _heading(column)
    return next((index for index, cell in enumerate(headings) if cell and _heading(cell) == wanted), None)


def _guess(rows: list[list[str]], headings: list[str] | None) -> str:
    """Return the column that most probably holds the names."""
    texts = [index for index in range(len(rows[0])) if not all(_is_index(row[index]) for row in rows[1:] or rows)]
    if headings is None:
        return str((texts or [0])[0] + 1)
    likely = [index for index in texts if _heading(headings[index]) in _NAME_HEADINGS]
    found = headings[(likely or texts or [0])[0]]
    return repr(found) if " " in found else found
