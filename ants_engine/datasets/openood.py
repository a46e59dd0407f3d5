"""Reading a benchmark from OpenOOD's lists.

Source: OpenOOD v1.5, arXiv 2306.09301.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ants_engine.datasets.benchmark import ID_SET, Benchmark, BenchmarkSet
from ants_engine.datasets.image_lists import OOD_LABEL, read_image_list
from ants_engine.datasets.list_folder import ListFolder, root_of
from ants_engine.datasets.ood_groups import SHIFTED, group_of, plain_name
from ants_engine.errors import UsageError


def read_openood(
    lists: ListFolder,
    *,
    root: Path | None = None,
    classes: Sequence[str] | None = None,
    chosen: Collection[str] | None = None,
) -> Benchmark:
    """Read the lists; nothing is decoded, and a picture that is not there is found out later.

    Lists that hold ID classes under another light (``imagenet_v2`` and the like) are left out, with a note, unless they
    are chosen. Labels in an OOD list are forced to -1, with a note.

    Args:
        lists: what `find_list_folder` found.
        root: what the lists' paths are relative to; by default the folder that holds ``benchmark_imglist``, or where
            OpenOOD's downloads put pictures below it.
        classes: the ID classes in the order of the labels; ``classes.txt`` beside the lists by default.
        chosen: names of the OOD sets; all by default.

    Raises:
        UsageError: a list is malformed (file and line are named), a chosen one is not there, the classes are not
            known, or the labels do not fit them.
    """
    notes: list[str] = []
    names = _names(lists, chosen, notes)
    given = tuple(classes) if classes is not None else lists.classes()
    base = lists.root if root is None else root
    id_set = _read(ID_SET, lists.id_list, base)
    ood_sets = []
    for name in names:
        one = replace(_read(name, lists.ood_lists[name], base), group=group_of(name))
        labelled = int((one.labels != OOD_LABEL).sum())
        if labelled:
            notes.append(f"{one.origin}: {labelled} pictures have a label; as OOD pictures they are taken as -1")
        ood_sets.append(replace(one, labels=np.full(len(one), OOD_LABEL, dtype=np.int64)))
    return Benchmark(lists.name, "lists", given, id_set, tuple(ood_sets), notes=tuple(notes))


def _names(lists: ListFolder, chosen: Collection[str] | None, notes: list[str]) -> list[str]:
    if chosen is not None:
        for name in chosen:
            if name not in lists.ood_lists:
                there = ", ".join(lists.ood_lists) or "none"
                raise UsageError(f"there is no list {lists.folder / f'test_{name}.txt'}; OOD lists there: {there}")
        return sorted(chosen)
    shifted = [name for name in lists.ood_lists if plain_name(name) in SHIFTED]
    if shifted:
        notes.append(
            f"left out, because they hold ID classes under another light and no OOD pictures: {', '.join(shifted)} "
            "(--ood takes them all the same)"
        )
    return [name for name in lists.ood_lists if name not in shifted]


def _read(name: str, path: Path, root: Path) -> BenchmarkSet:
    listed = read_image_list(path, root, check_files=False)
    place = root_of(str(listed[0].path.relative_to(root)), root)
    return BenchmarkSet(
        name=name,
        group=None,
        labels=np.array([image.label for image in listed], dtype=np.int64),
        images=tuple(place / image.path.relative_to(root) for image in listed),
        origin=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
