from pathlib import Path

import pytest

from ants_engine.datasets.benchmark import UNLABELLED
from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import UsageError


def make(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


FILES = (
    "id/hot_dog/b.jpg", "id/hot_dog/a.jpg", "id/apple/c.png", "near/burgers/x/1.jpg", "near/burgers/2.jpg",
    "far/metal/3.webp", "far/metal/notes.txt", "id/apple/.hidden.jpg",
)  # fmt: skip


def test_folders_become_a_benchmark(tmp_path: Path) -> None:
    found = read_benchmark(make(tmp_path, *FILES))
    assert (found.kind, found.classes) == ("folders", ("apple", "hot dog"))
    assert found.id_set.images == tuple(
        tmp_path / "id" / name for name in ("apple/c.png", "hot_dog/a.jpg", "hot_dog/b.jpg")
    )
    assert found.id_set.labels.tolist() == [0, 1, 1]
    assert [(one.name, one.group, len(one)) for one in found.ood_sets] == [("burgers", "near", 2), ("metal", "far", 1)]


def test_given_classes_set_the_order_of_the_labels(tmp_path: Path) -> None:
    found = read_benchmark(make(tmp_path, *FILES), classes=["Hot dog", "pear", "apple"])
    assert found.classes == ("Hot dog", "pear", "apple")
    assert found.id_set.labels.tolist() == [2, 0, 0]
    with pytest.raises(UsageError, match="the folders hot_dog are none of the 1 ID classes"):
        read_benchmark(tmp_path, classes=["apple"])


def test_pictures_without_labels(tmp_path: Path) -> None:
    make(tmp_path, "id/a.jpg", "id/b.jpg", "near/c.jpg")
    found = read_benchmark(tmp_path, classes=["apple"])
    assert found.id_set.labels.tolist() == [UNLABELLED] * 2
    assert not found.id_set.labelled
    assert [(one.name, one.group) for one in found.ood_sets] == [("near", "near")]
    with pytest.raises(UsageError, match="name the ID classes with --classes, or sort"):
        read_benchmark(tmp_path)


def test_sets_may_be_chosen(tmp_path: Path) -> None:
    make(tmp_path, *FILES)
    assert [one.name for one in read_benchmark(tmp_path, chosen=["metal"]).ood_sets] == ["metal"]
    with pytest.raises(UsageError, match="no OOD set wood; there are: burgers, metal"):
        read_benchmark(tmp_path, chosen=["wood"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("id/apple/a.jpg",), "there is no OOD set"),
        (("id/apple/a.jpg", "near/pears/notes.txt"), r"near/pears: no pictures; neither the ID set nor an OOD set"),
        (("id/apple/notes.txt", "near/b.jpg"), r"id: no pictures"),
        (("id/apple/a.jpg", "id/b.jpg", "near/c.jpg"), r"folders and pictures \(b\.jpg, …\) side by side"),
        (("id/apple/a.jpg", "near/x/c.jpg", "far/x/d.jpg"), "two sets are called x"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_benchmark(make(tmp_path, *files))
