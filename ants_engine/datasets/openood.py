"""Benchmarks in OpenOOD's lists: ``benchmark_imglist/<id>/test_<name>.txt``, one ``relative/path label`` a line.

Source: OpenOOD v1.5, arXiv 2306.09301.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ants_engine.common.text_file import read_text
from ants_engine.datasets.benchmark import ID_SET, OOD_LABEL, SHIFTED, Benchmark, BenchmarkSet, group_of, plain_name
from ants_engine.detector.class_list import read_class_file
from ants_engine.errors import ImageNotFoundError, UsageError


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One line of a list."""

    path: Path
    """Root and relative path joined."""
    label: int
    """Class index, or -1 for OOD."""


def read_image_list(list_file: Path | str, root: Path | str, *, check_files: bool = True) -> list[ListedImage]:
    """Read an image list.

    A line is split at its first space, so paths contain none. Blank lines and lines that begin with ``#`` are skipped.

    Args:
        list_file: the list, in UTF-8, or UTF-16 with a byte order mark; names of existing files may be any bytes.
        root: folder that the paths are relative to.
        check_files: check that every picture exists.

    Raises:
        UsageError: the list is missing, not UTF-8 or empty; a line (given by number) is malformed, its label is not an
            integer from -1 up, or its path leads out of ``root``.
        ImageNotFoundError: a picture does not exist.
    """
    list_file, root = Path(list_file), Path(root)
    try:
        text = read_text(list_file, "surrogateescape")
    except FileNotFoundError:
        raise UsageError(f"there is no image list {list_file}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{list_file} is not UTF-8: is it an image list?") from None
    except OSError as error:
        raise UsageError(f"the image list {list_file} cannot be read: {error}") from error
    images = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            if not _is_utf8(stripped) and not (root / stripped.partition(" ")[0]).exists():
                # file names may be any bytes, but a list in another encoding is a mistake
                raise UsageError(f"{list_file} is not UTF-8: is it an image list?")
            images.append(_image(stripped, root, f"{list_file}, line {number}", check_files=check_files))
    if not images:
        raise UsageError(f"{list_file} lists no picture")
    return images


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _image(line: str, root: Path, where: str, *, check_files: bool) -> ListedImage:
    name, space, label_text = line.partition(" ")
    if not space:
        hint = " (separate them by a space, not by a tab or comma)" if "\t" in line or "," in line else ""
        raise UsageError(f"{where}: {line[:80]!r} is not 'relative/path label'{hint}")
    if re.fullmatch(r"-?[0-9]+", label_text.strip()) is None:
        raise UsageError(
            f"{where}: the label {label_text.strip()[:80]!r} is not a whole number "
            "(a line is split at its first space: a path must not hold one)"
        )
    label = int(label_text)
    if label < OOD_LABEL:
        raise UsageError(f"{where}: the label {label} is below -1")
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UsageError(f"{where}: the path {name!r} leads out of the list's root; make it relative to {root}")
    path = root / relative
    if check_files and not path.is_file():
        raise ImageNotFoundError(str(path), f"listed in {where}, and not there")
    return ListedImage(path=path, label=label)


LISTS = "benchmark_imglist"
CLASSES = "classes.txt"
_TEST = "test_"
DATA_FOLDERS = ("images_largescale", "images_classic")
"""Picture folders of OpenOOD's downloads, below the folder that holds the lists."""


@dataclass(frozen=True, slots=True)
class ListFolder:
    """The test lists of one ID data set."""

    folder: Path
    """``…/benchmark_imglist/<id>``."""
    id_list: Path
    ood_lists: dict[str, Path]
    """By name, sorted."""

    @property
    def name(self) -> str:
        """Return ``<id>``."""
        return self.folder.name

    @property
    def root(self) -> Path:
        """Return the folder that holds ``benchmark_imglist``."""
        return self.folder.parent.parent

    @property
    def classes_file(self) -> Path | None:
        """Return ``classes.txt`` beside the lists, if it exists."""
        path = self.folder / CLASSES
        return path if path.is_file() else None

    def classes(self) -> tuple[str, ...]:
        """Read ``classes.txt``: the ID classes in the order of the labels, see `read_class_file`.

        Raises:
            UsageError: it is missing, unreadable or empty.
        """
        path = self.folder / CLASSES
        if not path.exists():
            raise UsageError(
                f"there is no {path}; name the ID classes in the order of the labels, one a line, or with --classes"
            )
        return tuple(read_class_file(path))


def find_list_folder(source: Path, id_name: str | None = None) -> ListFolder | None:
    """Find a benchmark's lists.

    Args:
        source: the folder that holds ``benchmark_imglist``, one that holds ``pictures/benchmark_imglist``, or
            ``benchmark_imglist/<id>`` itself.
        id_name: which ``<id>``, where there are several.

    Returns:
        The lists; ``None`` where ``source`` is of another kind.

    Raises:
        UsageError: there are several and none is named, the named one is missing, or it has no list of ID pictures.
    """
    source = source.resolve() if source.name in ("", "..") else source
    if source.parent.name == LISTS and any(source.glob(f"{_TEST}*.txt")):
        return _lists_in(source)
    for base in (source / LISTS, source / "pictures" / LISTS):
        if base.is_dir():
            return _lists_in(_choose(base, id_name))
    return None


def root_of(listed: str, root: Path) -> Path:
    """Return the folder of a listed relative path: ``root``, or one of OpenOOD's data folders below it."""
    if not (root / listed).is_file():
        for name in DATA_FOLDERS:
            if (root / name / listed).is_file():
                return root / name
    return root


def _choose(base: Path, id_name: str | None) -> Path:
    found = {path.name: path for path in sorted(base.iterdir()) if any(path.glob(f"{_TEST}*.txt"))}
    if not found:
        raise UsageError(f"{base}: no <id>/{_TEST}<name>.txt in it")
    if id_name is not None:
        if id_name not in found:
            raise UsageError(f"{base}: no lists for {id_name!r}; there are: {', '.join(found)}")
        return found[id_name]
    if len(found) > 1:
        raise UsageError(f"{base} holds several benchmarks: {', '.join(found)}; choose one with --id")
    return next(iter(found.values()))


def _lists_in(folder: Path) -> ListFolder:
    lists = {path.stem.removeprefix(_TEST): path for path in sorted(folder.glob(f"{_TEST}*.txt"))}
    id_list = lists.pop(folder.name, None)
    if id_list is None:
        raise UsageError(
            f"{folder}: the ID list {_TEST}{folder.name}.txt is not there; found {', '.join(lists) or 'no list'}"
        )
    return ListFolder(folder, id_list, lists)


def read_openood(
    lists: ListFolder,
    *,
    root: Path | None = None,
    classes: Sequence[str] | None = None,
    chosen: Collection[str] | None = None,
) -> Benchmark:
    """Read the lists; nothing is decoded, and missing pictures are not reported here.

    Covariate-shifted ID sets (``imagenet_v2`` and the like) are left out, with a note, unless they are chosen. Labels
    in an OOD list are replaced by -1, with a note.

    Args:
        lists: what `find_list_folder` found.
        root: what the lists' paths are relative to; by default the folder that holds ``benchmark_imglist``, or where
            OpenOOD's downloads put pictures below it.
        classes: the ID classes in the order of the labels; ``classes.txt`` beside the lists by default.
        chosen: names of the OOD sets; all by default.

    Raises:
        UsageError: a list is malformed, a chosen one is missing, the classes are unknown, or the labels do not fit
            them.
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
            f"left out, because they hold covariate-shifted ID pictures and no OOD pictures: {', '.join(shifted)} "
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
