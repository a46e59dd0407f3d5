"""Finding out what kind of benchmark a path is, and reading it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from ants_engine.datasets.benchmark import ID_SET, Benchmark
from ants_engine.datasets.feature_file import is_feature_folder, read_features
from ants_engine.datasets.list_folder import find_list_folder
from ants_engine.datasets.ood_groups import Group
from ants_engine.datasets.openood import read_openood
from ants_engine.datasets.picture_folders import read_picture_folders
from ants_engine.errors import UsageError

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
        near: names of OOD sets that are near, whatever is known of them.
        far: names of OOD sets that are far.

    Raises:
        UsageError: nothing of the kind is there, or it cannot be used; says what is looked for.
        FeatureError: features that cannot be used.
    """
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder")
    if source.is_file() or is_feature_folder(source):
        if source.is_file() and source.suffix != ".npz":
            raise UsageError(f"{source}: a file of features ends in .npz; lists are given by the folder they lie in")
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
    """Put OOD sets into the groups that they are said to be in; note those of which nobody knows.

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
