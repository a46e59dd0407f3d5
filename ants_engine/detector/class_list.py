"""The ID classes: their names, the texts that stand for each of them in CLIP, and how they are read from a file.

Files are read as people and programs write them; what has one meaning is read, the rest refused. Read are: one name a
line, with or without bullets, quotes or a comma at the end; lines numbered from 0 or 1 on, before or behind the name;
WordNet's ids before the name; JSON (or what Python prints) lists, index → name and name → index, ``id2label`` of a
model, and the categories of COCO; one column of a CSV, TSV or Markdown table, named where there is a heading.
"""

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ants_engine.common.text_file import read_text
from ants_engine.errors import ClassListError
from ants_engine.method.answer import is_latin
from ants_engine.method.class_names import same_name, says_nothing, spoken_name, synonyms, tidy_name

IMAGENET_TWICE = frozenset({"missile", "sunglasses", "crane", "maillot", "cardigan"})
"""What ImageNet calls two classes each: OpenAI's names for CLIP the first two, WordNet's first synonyms the others."""
LONG, VERY_LONG = 100, 10_000
"""From so many names on, a name may occur twice if ImageNet has it twice, or if at most one name in ten does."""
ID_HEADINGS = frozenset(
    {"id", "ids", "index", "idx", "no", "number", "wnid", "synset", "class id", "class index", "synset id"}
)
HEADINGS = ID_HEADINGS | {
    "name", "names", "class", "classes", "classname", "classnames", "class name", "class names", "label", "labels",
    "label name", "labelname", "category", "categories", "category name", "title", "species", "display name",
    "displayname",
}  # fmt: skip
"""What the first cell or line of a table says, and no class is called at the head of a list."""
SHOWN = 8

_WORDNET_ID = re.compile(r"(n\d{8})(?:(?:\s*[-_:,;]\s*|\s+)(\S.*))?")
_NUMBERED = re.compile(r"\(?(\d+)(?:\s*[:.,;)=]\s*|\s+-\s+|\s+)(\S.*)")
_GLUED_NUMBER = re.compile(r"\d+[,;:](?=[^\W\d_])")
_MARKED_NUMBER = re.compile(r"(\d+)(?:\s*[:=)]\s*|\.\s+)\S.*")
_NUMBERS_BEHIND = re.compile(r"\S.*?(?:\s+\d+){2,}")
_BULLET = re.compile(r"[-*•·]\s+(?=\S)")
_QUOTED = re.compile(r"(['\"])(.+)\1")
_WORDS = re.compile(r"[^\W\d_]+(?: [^\W\d_]+)+")
_PATH = re.compile(r"(?:\.{0,2}/|~/|[A-Za-z]:\\).*|.*\.(?:txt|csv|tsv|json|ya?ml|lst|jpe?g|png|gif|webp|npz)", re.I)


@dataclass(frozen=True, slots=True)
class ClassList:
    """``names`` (C,) and, for each, one or more prompt texts."""

    names: tuple[str, ...]
    """As given, in NFC; a name that a published list holds twice stands here twice."""
    prompts: tuple[tuple[str, ...], ...]
    template: str = "{}"
    """How a further name is written so that it compares with these: the template that the prompts have in common."""
    own_template: bool = True
    """Whether ``template`` is what the prompts were made with, and not a default for want of one in common."""
    notes: tuple[str, ...] = ()
    """What a user should know of these names."""

    def __len__(self) -> int:
        """Return C."""
        return len(self.names)

    def __str__(self) -> str:
        """Return one line: how many there are, and the first of them."""
        shown = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in self.names[:SHOWN])
        rest = ", …" if len(self) > SHOWN else ""
        return f"{len(self)} class{'es' if len(self) > 1 else ''}: {shown}{rest}"

    @classmethod
    def of(
        cls, id_classes: "Iterable[str] | Mapping[str, str | Iterable[str]] | ClassList", template: str
    ) -> "ClassList":
        """Check what a user gave: names, or a mapping name → prompt text(s); or a list that has been checked.

        A name's prompt has spaces for underscores and, of a list of synonyms as WordNet writes it ("lion, king of
        beasts, Panthera leo"), the first one, unless another class begins with the same. Prompts of a mapping are taken
        as they are.

        A name twice is a mistake, unless a published list has it so: see `IMAGENET_TWICE` and `VERY_LONG`.

        Raises:
            ClassListError: none at all; a blank, duplicate or non-text entry; or, without prompts, one that seems to be
                something else than a name (a number, a heading, a path, several names in one). All of them are named,
                and what to write instead.
        """
        if isinstance(id_classes, ClassList):
            return id_classes
        given = _entries(id_classes)
        with_prompts = isinstance(id_classes, Mapping)
        problems: list[tuple[int, str]] = []
        names: list[str] = []
        places: list[int] = []
        prompts: list[tuple[str, ...] | None] = []
        for place, (name, texts) in enumerate(given):
            if not isinstance(name, str):
                problems.append((place, f"is a {type(name).__name__}, not a text"))
                continue
            clean = tidy_name(name)
            if not same_name(clean):
                problems.append((place, "is blank"))
                continue
            # a mapping's prompts say what a class is, whatever it is called
            doubt = None if with_prompts else _doubt(clean, heads_a_list=place == 0 and len(given) > 1)
            if doubt is not None:
                problems.append((place, f"{clean!r} {doubt}"))
            own = _prompt_texts(texts) if with_prompts else ()
            if own is None:
                problems.append((place, f"{clean!r} has a prompt that is blank or no text"))
            names.append(clean)
            places.append(place)
            prompts.append(own)
        problems += _repeats(names, places, may_repeat=not with_prompts)
        if not problems and not with_prompts:
            problems += _doubts_about_all(names)
        if problems:
            _refuse(problems)
        spoken = _spoken(names)
        # replace, not format: a class name is data and may hold braces
        texts_of = [own or (template.replace("{}", said),) for own, said in zip(prompts, spoken, strict=True)]
        shared = template if not with_prompts else _common_template([*zip(names, spoken, strict=True)], texts_of)
        notes = _notes(names, spoken, with_prompts=with_prompts)
        return cls(tuple(names), tuple(texts_of), shared or template, shared is not None, notes)

    @classmethod
    def saved(cls, prompts: Mapping[str, Sequence[str]], order: Sequence[str] | None, template: str) -> "ClassList":
        """Put a list together that `order` and a mapping of its names to their prompts were kept of.

        Raises:
            ClassListError: they are not of one list.
        """
        if order is None:
            return cls.of(prompts, template)
        names = tuple(tidy_name(name) for name in order)
        if (
            not all(map(same_name, names))
            or set(order) != set(prompts)
            or not all(map(_prompt_texts, prompts.values()))
        ):
            raise ClassListError("the order of the classes names others than there are, or one is blank")
        texts = [tuple(prompts[name]) for name in order]
        shared = _common_template([*zip(names, _spoken([*names]), strict=True)], texts)
        return cls(names, tuple(texts), shared or template, shared is not None)

    def order(self) -> tuple[str, ...] | None:
        """Return the names where two are the same, so that no mapping keeps them; else None."""
        return self.names if len({same_name(name) for name in self.names}) < len(self) else None

    def check_length(self, fits: Callable[[str], bool]) -> None:
        """Refuse prompts that CLIP's text context would cut.

        Raises:
            ClassListError: names the classes whose text is too long.
        """
        long = [name for name, texts in zip(self.names, self.prompts, strict=True) if not all(map(fits, texts))]
        if long:
            shown = ", ".join(repr(name if len(name) <= 60 else name[:57] + "…") for name in long[:5])
            raise ClassListError(f"longer than the text context of this CLIP model: {shown}; shorten these class texts")


def without_numbers(names: Sequence[str]) -> list[str] | None:
    """Return the names of a numbered list ("0 lion", "1: elephant") without their numbers; None where it is none.

    They are a list's own numbers only if they run from 0 or 1 on without a gap, and the names differ without them:
    "7-up", "2012 BMW 3 Series" and "1 euro, 2 euro" are names.
    """
    matches = [_NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    rest = [match[2].strip() for match in matches if match is not None]
    runs = len(numbers) == len(names) > 1 and numbers[0] in (0, 1)
    runs = runs and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return rest if runs and len({same_name(name) for name in rest}) == len(rest) else None


def without_wordnet_ids(names: Sequence[str]) -> list[str] | None:
    """Return the names behind WordNet's ids ("n01440764 tench, Tinca tinca"); None unless every name has one."""
    matches = [_WORDNET_ID.fullmatch(name) for name in names]
    rest = [match[2] for match in matches if match is not None and match[2]]
    return rest if names and len(rest) == len(names) else None


def _entries(id_classes: Any) -> list[tuple[Any, Any]]:
    """Return what was given as pairs of a name and its prompts.

    Raises:
        ClassListError: it is no list and no mapping name → prompts.
    """
    if isinstance(id_classes, (str, bytes)):
        shown = id_classes[:40] if isinstance(id_classes, str) else id_classes[:40].decode("utf-8", "replace")
        parts = [part.strip() for part in re.split(r"[,;\n]", shown) if part.strip()]
        raise ClassListError(f"id_classes is one text ({shown!r}); give a list of names: {parts[:3]!r}")
    if isinstance(id_classes, AbstractSet) and not isinstance(id_classes, Mapping):
        raise ClassListError(
            "id_classes is a set, whose order changes from run to run; give a list, e.g. sorted(id_classes)"
        )
    if not isinstance(id_classes, Mapping):
        given = [(name, None) for name in id_classes]
    else:
        given = list(id_classes.items())
        if given and all(isinstance(value, int) for _, value in given):
            raise ClassListError(
                "id_classes maps names to numbers; give the names in that order: sorted(id_classes, key=id_classes.get)"
            )
        if given and all(isinstance(name, int) for name, _ in given):
            raise ClassListError(
                "id_classes maps numbers to names; give the names in that order: "
                "[id_classes[i] for i in sorted(id_classes)]"
            )
    if not given:
        raise ClassListError("id_classes is empty; at least one class name is needed")
    return given


def _doubt(name: str, *, heads_a_list: bool) -> str | None:
    """Say what a name seems to be instead of one, and what to write; None where it is a name."""
    doubt: str | None = None
    if name.isascii() and not any(map(str.isalnum, name)):
        return "has no letter or digit; write its name"
    if re.match(r"</?[A-Za-z][^<>]*>", name):
        return "is markup; write the name alone"
    cells = [same_name(cell.replace("_", " ").replace("-", " ")) for cell in re.split(r"[,;\t]", name)]
    if name[-1] in ",;:" and name.strip(",;: "):
        doubt = f"ends in {name[-1]!r}; write {name.rstrip(',;: ')!r}"
    elif quoted := _QUOTED.fullmatch(name):
        doubt = f"stands in quotes; write {quoted[2]}"
    elif bullet := _BULLET.match(name):
        doubt = f"begins with a bullet; write {name[bullet.end() :]!r}"
    elif number := _GLUED_NUMBER.match(name):
        doubt = f"begins with a number; write {name[number.end() :].strip()!r}"
    elif _PATH.fullmatch(name):
        doubt = "is a path; give the names, or, with ants …, a file of them as --classes FILE"
    elif heads_a_list and all(cell in HEADINGS for cell in cells):
        doubt = "is the heading of a table; leave it out (ants …: say which column holds the names, --column NAME)"
    elif found := _WORDNET_ID.fullmatch(name):
        doubt = f"begins with an id; write {found[2]!r}" if found[2] else "is an id, in no caption; write its name"
    return doubt


def _doubts_about_all(names: list[str]) -> list[tuple[int, str]]:
    """Say what is wrong with names that are no doubt each by itself."""
    # SVHN and MNIST name their classes "0 - zero"
    bare = None if all(re.match(r"\d+ - ", name) for name in names) else without_numbers(names)
    if bare is not None:
        return [(0, f"{names[0]!r} and all others are numbered; write {', '.join(map(repr, bare[:3]))} …")]
    shared = _shared_doubt(names) if len(names) > 1 else None
    if shared is not None:
        return [(0, f"{names[0]!r} and all others {shared}")]
    name = names[0]
    parts = [part.strip() for part in re.split(r"[,;]", name) if part.strip()]
    words = name.split()
    # a list names nothing twice
    in_words = len(words) > 2 and len({*map(same_name, words)}) == len(words) and _WORDS.fullmatch(name) is not None
    if len(names) == 1 and (len(parts) > 1 or in_words):
        several = parts if len(parts) > 1 else words
        alone = parts[0] if len(parts) > 1 else "_".join(words)
        return [
            (
                0,
                f"{name[:60]!r} is one class; for {len(several)} classes give each an entry of its own (ants …: a "
                f"line, or with commas: {', '.join(several[:3])}), and for one class write {alone!r}",
            )
        ]
    return []


def _shared_doubt(names: list[str]) -> str | None:
    """Say what numbers do in names that all have them."""
    numbers = [int(match[1]) for match in map(_MARKED_NUMBER.fullmatch, names) if match is not None]
    doubt: str | None = None
    if len(numbers) == len(names) and numbers == sorted({*numbers}):
        doubt = "begin with a number; write the names alone, in the order you want"
    elif all(map(_NUMBERS_BEHIND.fullmatch, names)):
        doubt = "end in numbers; write the names alone"
    return doubt


def _repeats(names: list[str], places: list[int], *, may_repeat: bool) -> list[tuple[int, str]]:
    first: dict[str, int] = {}
    repeated: list[tuple[int, str]] = []
    keys: list[str] = []
    for name, place in zip(names, places, strict=True):
        key = same_name(name)
        if key in first:
            keys.append(key)
            repeated.append((place, f"{name!r} is the same as #{first[key]}"))
        first.setdefault(key, place)
    if not may_repeat or not keys:
        return repeated
    of_imagenet = len(names) >= LONG and set(keys) <= IMAGENET_TWICE and max(Counter(keys).values()) == 1
    return [] if of_imagenet or (len(names) >= VERY_LONG and 10 * len(keys) <= len(names)) else repeated


def _refuse(problems: list[tuple[int, str]]) -> None:
    ordered = [f"#{place} {what}" for place, what in sorted(problems, key=lambda problem: problem[0])]
    shown = "; ".join(ordered[:10]) + (f"; and {len(ordered) - 10} more" if len(ordered) > 10 else "")
    raise ClassListError(f"id_classes cannot be used: {shown}")


def _spoken(names: list[str]) -> list[str]:
    """Return what each class is called in a prompt."""
    first = [spoken_name(synonyms(name)[0]) for name in names]
    # two classes that begin with the same synonym, and are not the same name, are told apart by all that is said
    sharing = Counter(same_name(said) for said in first)
    return [
        said if sharing[same_name(said)] == 1 and any(map(str.isalpha, said)) else spoken_name(name)
        for name, said in zip(names, first, strict=True)
    ]


def _notes(names: list[str], spoken: list[str], *, with_prompts: bool) -> tuple[str, ...]:
    notes: list[str] = []
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(same_name(name), []).append(place)
    twice = {names[found[0]]: found for found in places.values() if len(found) > 1}
    if twice:
        shown = _some([f"{name} ({', '.join(map(str, found))})" for name, found in twice.items()])
        notes.append(
            f"{len(twice)} names stand for several classes, as in the published list: {shown}; these cannot be told "
            "apart and are predicted as the first; give them names of their own where that matters"
        )
    if not with_prompts:
        listed = [f"{said} ({name})" for name, said in zip(names, spoken, strict=True) if said != spoken_name(name)]
        if listed:
            notes.append(
                f"{len(listed)} names are lists of synonyms; CLIP is asked for the first, and an answer that has any "
                f"of them names the class: {_some(listed)}"
            )
    foreign = [name for name in names if not is_latin(name)]
    if foreign:
        notes.append(
            f"{len(foreign)} of {len(names)} class names are not in Latin script ({_some(foreign)}), which CLIP's text "
            "encoder hardly reads; answers in another script are set aside, and an English answer that names such a "
            "class is not recognised: give English names"
        )
    letters = [name for name in names if says_nothing(name)]
    if letters:
        notes.append(
            f"{len(letters)} class names are single letters or little words ({_some(letters)}); an answer names such a "
            'class only where it is written as a name is, as in "the letter A"'
        )
    return tuple(notes)


def _some(texts: list[str], count: int = 3) -> str:
    return ", ".join(texts[:count]) + (", …" if len(texts) > count else "")


def _common_template(names: list[tuple[str, str]], prompts: list[tuple[str, ...]]) -> str | None:
    """Return the one template that a user's own prompts were evidently made with, of names or of what is said."""
    if any(len(texts) > 1 for texts in prompts):
        return None
    for written in range(2):
        found = {texts[0].replace(name[written], "{}") for name, texts in zip(names, prompts, strict=True)}
        template = found.pop()
        if not found and template.count("{}") == 1:
            return template
    return None


def _prompt_texts(texts: Any) -> tuple[str, ...] | None:
    listed = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Iterable) else []
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        return None
    return tuple(listed)


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
