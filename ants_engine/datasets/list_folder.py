"""A folder of OpenOOD lists: ``benchmark_imglist/<id>/test_<name>.txt``.

Source: OpenOOD v1.5, arXiv 2306.09301.
"""

from dataclasses import dataclass
from pathlib import Path

from ants_engine.detector.class_file import read_class_file
from ants_engine.errors import UsageError

LISTS = "benchmark_imglist"
CLASSES = "classes.txt"
_TEST = "test_"
DATA_FOLDERS = ("images_largescale", "images_classic")
"""Where OpenOOD's downloads put the pictures, below the folder that holds the lists."""


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
        """Return ``classes.txt`` beside the lists, if it is there."""
        path = self.folder / CLASSES
        return path if path.is_file() else None

    def classes(self) -> tuple[str, ...]:
        """Read ``classes.txt``: the ID classes in the order of the labels, see `read_class_file`.

        Raises:
            UsageError: it is not there, cannot be read, or is empty.
        """
        path = self.folder / CLASSES
        if not path.exists():
            raise UsageError(
                f"there is no {path}; name the ID classes in the order of the labels, one a line, or with --classes"
            )
        return tuple(read_class_file(path))


def find_list_folder(source: Path, id_name: str | None = None) -> ListFolder | None:
    """Find the lists of a benchmark.

    Args:
        source: the folder that holds ``benchmark_imglist``, one that holds ``pictures/benchmark_imglist``, or
            ``benchmark_imglist/<id>`` itself.
        id_name: which ``<id>``, where there are several.

    Returns:
        The lists; ``None`` where ``source`` is of another kind.

    Raises:
        UsageError: there are several and none is named, the named one is not there, or it holds no list of ID
            pictures; says which there are.
    """
    source = source.resolve() if source.name in ("", "..") else source
    if source.parent.name == LISTS and any(source.glob(f"{_TEST}*.txt")):
        return _lists_in(source)
    for base in (source / LISTS, source / "pictures" / LISTS):
        if base.is_dir():
            return _lists_in(_choose(base, id_name))
    return None


def root_of(listed: str, root: Path) -> Path:
    """Return where a listed relative path is: ``root``, or one of OpenOOD's data folders below it."""
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
