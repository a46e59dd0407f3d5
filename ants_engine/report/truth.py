"""What is known of pictures: which are ID, of which class, and which OOD set the others are from."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ants_engine.common.text_file import read_text
from ants_engine.datasets.benchmark import ID_SET, OOD_LABEL, UNLABELLED, Benchmark
from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import UsageError
from ants_engine.method.class_names import same_name

HEADINGS = frozenset({"picture", "image", "path", "file", "filename", "name"})
"""A CSV whose first cell is one of these has a line of headings."""
OOD_WORDS = frozenset({"ood", "near", "far"})
"""In place of a class: a picture of none, in the set of that name."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one picture."""

    set_name: str
    """``id``, or the OOD set's name."""
    label: int
    """The ID class, `OOD_LABEL` or `UNLABELLED`."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Labels of N pictures, in their order; None where nobody says."""

    labels: tuple[Label | None, ...]

    @property
    def known(self) -> int:
        """Return how many pictures have a label."""
        return sum(one is not None for one in self.labels)

    @classmethod
    def of_sequence(cls, given: Sequence[str | None], classes: Sequence[str]) -> "Truth":
        """Read one word a picture: a class, ``id``, ``ood``, ``near``, ``far``, or None where it is not known.

        Raises:
            UsageError: a word is none of these.
        """
        index = _index(classes)
        return cls(tuple(None if word is None else _label(word, index, f"label {i}") for i, word in enumerate(given)))


class LabelBook:
    """Labels by picture, from a CSV, a mapping, or a folder with ``id/``, ``near/``, ``far/`` or OpenOOD's lists."""

    def __init__(self, labels: Mapping[str, Label], origin: str, images: tuple[Any, ...] = ()) -> None:
        """Keep labels.

        Args:
            labels: by the picture's name, or its absolute path.
            origin: what an error calls them.
            images: the pictures that they are of, where they came with the labels.
        """
        self._labels = dict(labels)
        self._origin = origin
        self.images = images
        ends = Counter(Path(name).name for name in self._labels)
        self._by_end = {Path(name).name: one for name, one in self._labels.items() if ends[Path(name).name] == 1}

    @classmethod
    def read(cls, source: Path, classes: Sequence[str]) -> "LabelBook":
        """Read a CSV, or the folder of a benchmark.

        Raises:
            UsageError: it is neither, or says something that does not fit the classes; names the line.
        """
        if source.is_dir():
            benchmark = read_benchmark(source, classes=classes)
            return cls(_of_benchmark(benchmark), str(source), tuple(i for s in benchmark.sets for i in s.images or ()))
        return cls(_read_csv(source, classes), str(source))

    @classmethod
    def of_mapping(cls, given: Mapping[str, str | None], classes: Sequence[str]) -> "LabelBook":
        """Take a mapping: picture → class, ``id``, ``ood``, ``near``, ``far``, or None for ``ood``.

        Raises:
            UsageError: a word is none of these.
        """
        index = _index(classes)
        return cls({str(name): _label(word or "ood", index, str(name)) for name, word in given.items()}, "the labels")

    def match(self, names: Sequence[str]) -> Truth:
        """Find the labels of pictures by their name, their absolute path, or, where only one has it, their file name.

        Raises:
            UsageError: not a single picture has a label.
        """
        found = Truth(tuple(self._find(name) for name in names))
        if not found.known:
            example = next(iter(self._labels), "nothing")
            raise UsageError(
                f"{self._origin}: none of its {len(self._labels)} pictures is among those of the report; it names "
                f"{example}, the report has {names[0] if names else 'none'}"
            )
        return found

    def _find(self, name: str) -> Label | None:
        if name in self._labels:
            return self._labels[name]
        path = str(Path(name).absolute())
        return self._labels[path] if path in self._labels else self._by_end.get(Path(name).name)


def _of_benchmark(benchmark: Benchmark) -> dict[str, Label]:
    labels = {}
    for one in benchmark.sets:
        for image, label in zip(one.images or (), one.labels.tolist(), strict=True):
            labels[str(Path(image).absolute())] = Label(one.name, label)
    return labels


def _read_csv(source: Path, classes: Sequence[str]) -> dict[str, Label]:
    index = _index(classes)
    labels: dict[str, Label] = {}
    try:
        rows = csv.reader(io.StringIO(read_text(source, "surrogateescape"), newline=""))
        for number, row in enumerate(rows, 1):
            if not any(cell.strip() for cell in row) or (number == 1 and row[0].strip().lower() in HEADINGS):
                continue
            name, word = row[0].strip(), row[1].strip() if len(row) > 1 else ""
            label = _label(word or "ood", index, f"{source}, line {number}")
            beside = str((source.parent / name).absolute())
            is_there = Path(beside).exists()
            if not is_there and not Path(name).exists():
                # the bytes of a file's name are its own business; a word in another encoding is a mistake
                name.encode()
            labels[beside if is_there else name] = label
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{source}: cannot be read as a CSV of picture,class in UTF-8: {reason}") from None
    if not labels:
        raise UsageError(f"{source}: no line of the form picture,class; an empty class, or ood, is a picture of none")
    return labels


def _index(classes: Sequence[str]) -> dict[str, int]:
    index: dict[str, int] = {}
    for row, name in enumerate(classes):
        # of two classes of one name the first is the one that is predicted
        index.setdefault(same_name(name), row)
    return index


def _label(word: str, index: Mapping[str, int], where: str) -> Label:
    plain = same_name(word)
    # a class may be called "far"; the classes are the user's, so they come first
    for name in (plain, " ".join(plain.replace("_", " ").split())):
        if name in index:
            return Label(ID_SET, index[name])
    if plain == ID_SET:
        return Label(ID_SET, UNLABELLED)
    if plain in OOD_WORDS:
        return Label(plain, OOD_LABEL)
    raise UsageError(f"{where}: {word!r} is no ID class; write one of the {len(index)} classes, id, ood, near or far")
