"""Reading a benchmark of any kind: OpenOOD's lists, feature files, or folders of pictures.

::

    id/<class>/…       class folders give labels and names; or unlabelled pictures directly in id/
    near/<name>/…      one OOD set per folder, at any depth; or pictures directly in near/
    far/<name>/…
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ants_engine.clip.folder import SUFFIXES, is_clutter, left_out_note, pictures_below
from ants_engine.datasets.benchmark import ID_SET, OOD_LABEL, UNLABELLED, Benchmark, BenchmarkSet, Group, chosen_sets
from ants_engine.datasets.openood import find_list_folder, read_openood
from ants_engine.errors import UsageError
from ants_engine.method.class_names import same_name

_GROUPS: tuple[Group, ...] = ("near", "far")


def read_picture_folders(
    source: Path, *, classes: Sequence[str] | None = None, chosen: Collection[str] | None = None
) -> Benchmark:
    """Read the folders; nothing is decoded.

    Args:
        source: holds ``id/`` and at least one of ``near/`` and ``far/``.
        classes: the ID classes in label order; by default the sorted folder names in ``id/``, with spaces for
            underscores.
        chosen: names of the OOD sets; all by default.

    Raises:
        UsageError: a folder is missing or empty, holds both pictures and folders, a class folder is not among
            ``classes``, or the classes are unknown.
    """
    left_out: Counter[str] = Counter()
    folders = _class_folders(source / ID_SET)
    names = tuple(_class_name(folder) for folder in folders)
    if classes is None and not folders:
        raise UsageError(
            f"{source / ID_SET} holds pictures and no class folders; name the ID classes with --classes, or sort the "
            "pictures into id/<class>/"
        )
    known = names if classes is None else tuple(classes)
    sets = [one for group in _GROUPS for one in _ood_sets(source / group, group, left_out)]
    sets = chosen_sets(sets, chosen, source)
    id_set = _id_set(source / ID_SET, folders, known, left_out)
    note = left_out_note(left_out)
    notes = () if note is None else (note,)
    return Benchmark(source.resolve().name, "folders", known, id_set, tuple(sets), notes=notes)


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    try:
        there = [path for path in sorted(folder.iterdir()) if not is_clutter(path.name)]
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from None
    inside = [path for path in there if path.is_dir()]
    loose = [path for path in there if _is_picture(path)]
    if inside and loose:
        raise UsageError(f"{folder} holds folders and pictures ({loose[0].name}, …) side by side; sort them one way")
    return inside


def _id_set(folder: Path, folders: list[Path], classes: tuple[str, ...], left_out: Counter[str]) -> BenchmarkSet:
    images: list[Path] = []
    labels: list[int] = []
    # of two classes with one name the first is predicted
    index = {same_name(name): label for label, name in reversed([*enumerate(classes)])}
    unknown = [path.name for path in folders if same_name(_class_name(path)) not in index]
    if unknown:
        raise UsageError(f"{folder}: the folders {', '.join(unknown[:5])} are none of the {len(classes)} ID classes")
    for path in folders:
        found = _pictures(path, left_out)
        images += found
        labels += [index[same_name(_class_name(path))]] * len(found)
    if not folders:
        images = _pictures(folder, left_out)
        labels = [UNLABELLED] * len(images)
    return BenchmarkSet(ID_SET, None, np.array(labels, dtype=np.int64), tuple(images), origin=str(folder))


def _ood_sets(folder: Path, group: Group, left_out: Counter[str]) -> list[BenchmarkSet]:
    if not folder.is_dir():
        return []
    places = {path.name: path for path in _class_folders(folder)} or {group: folder}
    return [_ood_set(name, group, path, left_out) for name, path in places.items()]


def _ood_set(name: str, group: Group, folder: Path, left_out: Counter[str]) -> BenchmarkSet:
    images = tuple(_pictures(folder, left_out))
    return BenchmarkSet(name, group, np.full(len(images), OOD_LABEL, dtype=np.int64), images, origin=str(folder))


def _pictures(folder: Path, left_out: Counter[str]) -> list[Path]:
    try:
        found = pictures_below(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from None
    left_out.update(found.left_out)
    return found.pictures


def _class_name(folder: Path) -> str:
    return " ".join(folder.name.replace("_", " ").split())


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


SETTINGS = "ants.toml"


def read_benchmark(
    source: Path,
    *,
    id_name: str | None = None,
    root: Path | None = None,
    classes: Sequence[str] | None = None,
    chosen: Collection[str] | None = None,
    near: Collection[str] = (),
    far: Collection[str] = (),
) -> Benchmark:
    """Read a benchmark of whichever kind is there: OpenOOD lists, folders of pictures, or ``.npz`` features.

    Args:
        source: an ``.npz`` file, or a folder.
        id_name: which ``benchmark_imglist/<id>``, where there are several.
        root: what the lists' paths are relative to.
        classes: the ID classes, in the order of the labels.
        chosen: names of the OOD sets; all by default.
        near: OOD sets to count as near.
        far: OOD sets to count as far.

    Raises:
        UsageError: there is no benchmark, or it cannot be used.
        FeatureError: features that cannot be used.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if source.is_file() or (source / f"{ID_SET}.npz").is_file():
        if source.is_file() and source.suffix != ".npz":
            raise UsageError(f"{source}: a file of features ends in .npz; lists are given by the folder they lie in")
        from ants_engine.datasets.feature_file import read_features

        return regrouped(read_features(source, classes=classes, chosen=chosen), near, far)
    lists = find_list_folder(source, id_name)
    if lists is not None:
        found = read_openood(lists, root=root, classes=classes, chosen=chosen)
    elif (source / ID_SET).is_dir():
        found = read_picture_folders(source, classes=classes, chosen=chosen)
    else:
        raise UsageError(
            f"{source}: no benchmark in it. Looked for benchmark_imglist/<id>/test_<name>.txt, for the folders id/, "
            "near/<name>/ and far/<name>/, and for id.npz"
        )
    settings = source / SETTINGS
    found = replace(found, settings_file=settings) if settings.is_file() else found
    return regrouped(found, near, far)


def regrouped(benchmark: Benchmark, near: Collection[str], far: Collection[str]) -> Benchmark:
    """Move OOD sets into the given groups; note those of unknown group.

    Raises:
        UsageError: a name is no OOD set, or is called both near and far.
    """
    names = [one.name for one in benchmark.ood_sets]
    strange = sorted({*near, *far} - set(names))
    if strange:
        raise UsageError(f"{benchmark.name}: no OOD set {', '.join(strange)}; there are: {', '.join(names)}")
    both = sorted(set(near) & set(far))
    if both:
        raise UsageError(f"{benchmark.name}: called both near and far: {', '.join(both)}")
    said: dict[str, Group] = {**dict.fromkeys(near, "near"), **dict.fromkeys(far, "far")}
    sets = tuple(replace(one, group=said.get(one.name, one.group)) for one in benchmark.ood_sets)
    unknown = [one.name for one in sets if one.group == "other"]
    if not unknown:
        return replace(benchmark, ood_sets=sets)
    note = f"not known to be near or far, and so in no mean: {', '.join(unknown)} (say which with --near or --far)"
    return replace(benchmark, ood_sets=sets, notes=(*benchmark.notes, note))
