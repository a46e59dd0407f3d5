"""Reading a benchmark from CLIP features in ``.npz`` files.

==================== ============ ===============================================================================
key                  shape        content
==================== ============ ===============================================================================
``image_features``   (N, D) float CLIP image features
``labels``           (N,) int     the ID class, -1 for OOD
``sets``             (N,) str     ``id``, or the OOD set's name (``near/<name>`` and ``far/<name>`` say the group);
                                  without it, all rows with label -1 are the OOD set ``ood``
``class_names``      (C,) str     the ID classes, in the order of the labels
``class_features``   (C, D) float their text features; by default encoded by the CLIP of the settings
``negative_features``(M, D) float the initial negatives' text features; optional
``negative_texts``   (M,) str     their texts; optional
``logit_scale``      () float     1 / temperature; 100 by default
``clip``             () str       sha256 identity of the CLIP model, see ``clip_identity`` of a saved detector; optional
==================== ============ ===============================================================================

Instead of one file, a folder of them: ``id.npz`` and one file per OOD set (also in ``near/`` and ``far/``), each with
its ``image_features`` and ``labels``, and ``classes.npz`` with everything else. Pickled objects are never loaded.
"""

import hashlib
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ants_engine.datasets.benchmark import (
    ID_SET,
    OOD_LABEL,
    UNLABELLED,
    Benchmark,
    BenchmarkSet,
    FeatureSpace,
    Group,
    chosen_sets,
    group_of,
)
from ants_engine.errors import FeatureError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

KEYS = frozenset({
    "image_features", "labels", "sets", "class_names", "class_features", "negative_features", "negative_texts",
    "logit_scale", "clip",
})  # fmt: skip
SHARED_FILE = "classes.npz"
_ROW_KEYS = ("image_features", "labels", "sets")
_LENGTH_TOLERANCE = 1e-3

Arrays = dict[str, NDArray[Any]]


@dataclass(slots=True)
class _Part:
    """The arrays of one file, and the set of its rows where it holds a single set."""

    path: Path
    arrays: Arrays
    name: str | None = None


def read_features(
    source: Path,
    *,
    classes: Sequence[str] | None = None,
    chosen: Collection[str] | None = None,
) -> Benchmark:
    """Read and check features; rows that are not of unit length are normalised, with a note.

    Args:
        source: a file, or a folder with ``id.npz``.
        classes: in place of ``class_names``.
        chosen: names of the OOD sets; all by default.

    Raises:
        UsageError: a file is no ``.npz``, a key is missing or unknown, or the sets do not fit.
        FeatureError: features of the wrong shape or dtype, of different widths, NaN, infinite or all zero.
    """
    parts = _parts(source)
    shared = _shared(parts)
    notes: list[str] = []
    names = tuple(classes) if classes is not None else _texts(shared, "class_names", source)
    if names is None:
        raise UsageError(f"{source}: no class_names in it; name the ID classes with --classes, in the labels' order")
    sets = [one for part in parts if "image_features" in part.arrays for one in _sets(part, notes)]
    widths = {int(one.features.shape[1]) for one in sets if one.features is not None}
    if len(widths) > 1:
        raise FeatureError(f"{source}: image features of widths {sorted(widths)}; they must be of one CLIP model")
    ids = [one for one in sets if one.name == ID_SET]
    oods: Sequence[BenchmarkSet] = [one for one in sets if one.name != ID_SET]
    if len(ids) != 1:
        raise UsageError(
            f"{source}: needs one set called 'id' (rows with a label in labels, or 'id' in sets); "
            f"found {', '.join(one.name for one in sets) or 'no image_features'}"
        )
    oods = chosen_sets(oods, chosen, source)
    clip = str(shared["clip"].item()) if "clip" in shared else ""
    if not clip:
        notes.append(f"{source.name} does not say which CLIP made its features (key clip)")
    return Benchmark(
        name=source.stem,
        kind="features",
        classes=names,
        id_set=ids[0],
        ood_sets=tuple(sorted(oods, key=lambda one: one.name)),
        space=_space(shared, source, len(names), widths.pop(), notes),
        clip=clip,
        notes=tuple(notes),
    )


def _parts(source: Path) -> list[_Part]:
    if not source.is_dir():
        return [_Part(source, _load(source))]
    found = [_Part(path, _load(path), path.stem) for path in sorted(source.glob("*.npz"))]
    for group in ("near", "far"):
        found += [_Part(path, _load(path), f"{group}/{path.stem}") for path in sorted((source / group).glob("*.npz"))]
    for part in found:
        if part.path.name != SHARED_FILE and "image_features" not in part.arrays:
            raise UsageError(f"{part.path}: no image_features in it")
        if "sets" in part.arrays:
            raise UsageError(f"{part.path}: sets is for one file with all sets; here the file's name is the set's")
    return found


def _load(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path}: no .npz file, or cut off; numpy.savez writes one, with names for the arrays")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        hint = "; save texts as str arrays, not as objects" if "pickle" in str(error) else ""
        raise UsageError(f"{path}: cannot be read as .npz: {str(error).splitlines()[0]}{hint}") from None
    unknown = sorted(set(arrays) - KEYS)
    if unknown:
        raise UsageError(f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(KEYS))}")
    return arrays


def _shared(parts: list[_Part]) -> Arrays:
    shared: Arrays = {}
    for part in parts:
        for key in set(part.arrays) - set(_ROW_KEYS):
            if key in shared and not np.array_equal(shared[key], part.arrays[key]):
                raise UsageError(f"{part.path}: another {key} than the files before it")
            shared[key] = part.arrays[key]
    return shared


def _sets(part: _Part, notes: list[str]) -> list[BenchmarkSet]:
    import torch

    raw = part.arrays["image_features"]
    features = _features(raw, f"{part.path}: image_features", notes)
    labels = _labels(part, len(features))
    own = _set_names(part, labels, len(features))
    sha256 = hashlib.sha256(part.path.read_bytes()).hexdigest()
    sets = []
    for given in dict.fromkeys(own.tolist()):
        rows = np.flatnonzero(own == given)
        name, group = _named(str(given))
        mine = np.full(len(rows), UNLABELLED if name == ID_SET else OOD_LABEL) if labels is None else labels[rows]
        if name != ID_SET and (mine != OOD_LABEL).any():
            notes.append(f"{part.path.name}: {int((mine != OOD_LABEL).sum())} rows of {name} have a label; taken as -1")
            mine = np.full(len(rows), OOD_LABEL)
        taken = features[torch.from_numpy(rows)]
        sets.append(
            BenchmarkSet(name, group, mine.astype(np.int64), features=taken, origin=str(part.path), sha256=sha256)
        )
    return sets


def _labels(part: _Part, rows: int) -> NDArray[np.int64] | None:
    if "labels" not in part.arrays:
        return None
    labels = part.arrays["labels"]
    if labels.dtype.kind not in "iu" or labels.shape != (rows,):
        raise UsageError(
            f"{part.path}: labels are {labels.dtype} of shape {labels.shape}; whole numbers of shape ({rows},) are "
            "needed, one per row of image_features"
        )
    return labels.astype(np.int64)


def _set_names(part: _Part, labels: NDArray[np.int64] | None, rows: int) -> NDArray[np.str_]:
    if part.name is not None:
        return np.full(rows, part.name)
    if "sets" in part.arrays:
        sets = part.arrays["sets"]
        if sets.dtype.kind != "U" or sets.shape != (rows,):
            raise UsageError(
                f"{part.path}: sets is {sets.dtype} of shape {sets.shape}; a str array of shape ({rows},) is needed"
            )
        return sets
    if labels is None:
        raise UsageError(f"{part.path}: neither sets nor labels in it, so that no row is known to be ID or OOD")
    return np.where(labels == OOD_LABEL, "ood", ID_SET)


def _named(given: str) -> tuple[str, Group | None]:
    if given == ID_SET:
        return given, None
    prefix, slash, rest = given.partition("/")
    if slash and prefix in ("near", "far"):
        return rest, "near" if prefix == "near" else "far"
    return given, group_of(given)


def _space(shared: Arrays, source: Path, classes: int, width: int, notes: list[str]) -> FeatureSpace | None:
    if "class_features" not in shared:
        alone = [key for key in ("negative_features", "logit_scale") if key in shared]
        if alone:
            raise UsageError(f"{source}: {', '.join(alone)} without class_features")
        return None
    own = _text_features(shared, "class_features", source, width, notes)
    if len(own) != classes:
        raise FeatureError(f"{source}: class_features of {len(own)} classes, and {classes} class names")
    negatives = _text_features(shared, "negative_features", source, width, notes) if _has_negatives(shared) else None
    texts = _texts(shared, "negative_texts", source)
    if texts is not None and (negatives is None or len(texts) != len(negatives)):
        there = 0 if negatives is None else len(negatives)
        raise UsageError(f"{source}: {len(texts)} negative_texts for {there} negative_features")
    scale = float(shared["logit_scale"]) if "logit_scale" in shared else 100.0
    if not 0.0 < scale < float("inf"):
        raise UsageError(f"{source}: logit_scale is {scale}; a number above 0 is needed (1 / temperature)")
    return FeatureSpace(own, negatives, texts, scale)


def _has_negatives(shared: Mapping[str, NDArray[Any]]) -> bool:
    return "negative_features" in shared and len(shared["negative_features"]) > 0


def _text_features(shared: Arrays, key: str, source: Path, width: int, notes: list[str]) -> "Tensor":
    features = _features(shared[key], f"{source}: {key}", notes)
    if features.shape[1] != width:
        raise FeatureError(
            f"{source}: {key} are of width {features.shape[1]} and image_features of width {width}; they must be of "
            "one CLIP model"
        )
    return features


def _features(array: NDArray[Any], where: str, notes: list[str]) -> "Tensor":
    """Return checked features as float32, L2-normalised."""
    import torch

    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise FeatureError(f"{where} are {array.dtype} of shape {array.shape}; floats of shape (rows, D) are needed")
    lengths = np.linalg.norm(array.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0.0))
    if len(bad):
        raise FeatureError(f"{where}: {len(bad)} rows are NaN, infinite or all zero, first rows: {bad[:10].tolist()}")
    off = int((np.abs(lengths - 1.0) > _LENGTH_TOLERANCE).sum())
    if off:
        notes.append(f"{where}: {off} of {len(array)} rows were not of length 1 and have been normalised")
    return torch.from_numpy((array / lengths[:, None]).astype(np.float32))


def _texts(shared: Arrays, key: str, source: Path) -> tuple[str, ...] | None:
    if key not in shared:
        return None
    if shared[key].dtype.kind != "U" or shared[key].ndim != 1:
        raise UsageError(f"{source}: {key} is {shared[key].dtype} of shape {shared[key].shape}; a str array is needed")
    return tuple(shared[key].tolist())
