"""Labels of the pictures, and methods measured against them."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.baselines import registry
from ants_engine.baselines.baseline import TextSpace
from ants_engine.common.text_file import read_text
from ants_engine.datasets.benchmark import ID_SET, OOD_LABEL, UNLABELLED
from ants_engine.datasets.source import read_benchmark
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Scores
from ants_engine.errors import UsageError
from ants_engine.method.class_names import same_name
from ants_engine.method.metrics import FprConvention, accuracy, auroc, fpr95, roc
from ants_engine.report.document import MethodComparison, MethodRow, SetMetrics

HEADINGS = frozenset({"picture", "image", "path", "file", "filename", "name"})
"""A CSV whose first cell is one of these has a line of headings."""
OOD_WORDS = frozenset({"ood", "near", "far"})
"""In place of a class: an OOD picture, in the set of that name."""


@dataclass(frozen=True, slots=True)
class Label:
    """One picture's label."""

    set_name: str
    """``id``, or the OOD set's name."""
    label: int
    """The ID class, `OOD_LABEL` or `UNLABELLED`."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Labels of N pictures, in their order; None for a picture without a label."""

    labels: tuple[Label | None, ...]

    @classmethod
    def of_sequence(cls, given: Sequence[str | None], classes: Sequence[str]) -> "Truth":
        """Read one word per picture: a class, ``id``, ``ood``, ``near``, ``far``, or None where it is not known.

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
            origin: their name in errors.
            images: the labelled pictures, where they came with the labels.
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
            UsageError: it is neither, or a label does not fit the classes; names the line.
        """
        if source.is_dir():
            benchmark = read_benchmark(source, classes=classes)
            pairs = [
                (image, Label(one.name, label))
                for one in benchmark.sets
                for image, label in zip(one.images or (), one.labels.tolist(), strict=True)
            ]
            labels = {str(Path(image).absolute()): label for image, label in pairs}
            return cls(labels, str(source), tuple(image for image, _ in pairs))
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
        if not any(found.labels):
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


BASELINES = {
    "mcm": ("MCM", "highest softmax among the ID classes"),
    "max-logit": ("Max logit", "highest cosine to an ID class"),
    "energy": ("Energy", "logsumexp over the ID classes"),
    "neglabel": ("NegLabel (S_nl)", "words of the lexicon, in groups"),
    "neglabel-1": ("NegLabel, one group", "the same words in one softmax"),
}
PARTS = {
    "ens_score": ("ANTS S_ens", "sentences about pictures that look unknown"),
    "vsnl_score": ("ANTS S_vsnl", "look-alikes of the classes"),
    "id_score": ("ANTS", "id_score: what this detector decides by"),
}
ALL_OOD = "all OOD"
"""All OOD sets together, where there are several."""
POINTS = 200
"""Points of a ROC curve that are kept."""


def compare_methods(
    detector: Detector, features: Tensor, scores: Scores, truth: Truth, convention: FprConvention
) -> MethodComparison | None:
    """Measure every method on the readable pictures with a label; None where ID or OOD pictures are missing.

    Args:
        detector: its texts are what the baselines use.
        features: (N, D) of the pictures of ``scores``.
        scores: of N pictures.
        truth: of N pictures.
        convention: of the ROC curves.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    labelled = [(row, one) for row, one in enumerate(truth.labels) if one is not None and row not in scores.failures]
    rows = [row for row, _ in labelled]
    sets = np.array([one.set_name for _, one in labelled])
    is_id = sets == ID_SET
    if not is_id.any() or is_id.all():
        return None
    of_set = {name: sets == name for name in sorted(set(sets[~is_id].tolist()))}
    if len(of_set) > 1:
        of_set[ALL_OOD] = ~is_id
    space = TextSpace.of(detector)
    columns = {
        shown: registry.create(name, space).score(features[rows])[1].numpy() for name, shown in BASELINES.items()
    }
    columns |= {shown: getattr(scores, name)[rows] for name, shown in PARTS.items()}
    if not detector.union and len(detector.ens) and len(detector.vsnl):
        columns["ANTS union", "both banks in one softmax"] = detector.union_scores(scores)[rows]
    methods = tuple(
        MethodRow(
            name=name,
            what=what,
            sets=tuple(_metrics(one, column[is_id], column[mask]) for one, mask in of_set.items()),
            roc=_curve(column[is_id], column[~is_id], convention),
            ours=name.startswith("ANTS"),
        )
        for (name, what), column in columns.items()
    )
    labels = np.array([one.label for _, one in labelled])
    named = is_id & (labels >= 0)
    right = accuracy(scores.predicted[rows][named], labels[named]) if named.any() else None
    return MethodComparison(convention=convention, methods=methods, accuracy=right)


def _metrics(name: str, ids: NDArray[np.float32], oods: NDArray[np.float32]) -> SetMetrics:
    return SetMetrics(
        ood_set=name,
        auroc=auroc(ids, oods),
        fpr95_openood=fpr95(ids, oods, convention="openood"),
        fpr95_id_positive=fpr95(ids, oods, convention="id_positive"),
    )


def _curve(
    ids: NDArray[np.float32], oods: NDArray[np.float32], convention: FprConvention
) -> tuple[tuple[float, float], ...]:
    fpr, tpr = roc(ids, oods, convention=convention)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(POINTS, len(fpr))).round().astype(int))
    return tuple((round(float(fpr[i]), 4), round(float(tpr[i]), 4)) for i in kept)
