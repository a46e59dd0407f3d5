from pathlib import Path

import numpy as np
import pytest

from ants_engine.datasets.openood import find_list_folder
from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import UsageError

LISTS = {
    "test_pets.txt": "pets/cat.png 0\npets/dog.png 1\n",
    "test_ninco.txt": "ninco/a.png -1\nninco/b.png -1\n",
    "test_textures.txt": "textures/a.png 5\n",
    "test_imagenet_v2.txt": "v2/cat.png 0\n",
    "classes.txt": "# known\ncat\n\ndog\n",
}


def make(folder: Path, files: dict[str, str] = LISTS, name: str = "pets") -> Path:
    lists = folder / "benchmark_imglist" / name
    lists.mkdir(parents=True)
    for file, text in files.items():
        (lists / file).write_text(text)
    return folder


def test_lists_become_a_benchmark(tmp_path: Path) -> None:
    found = read_benchmark(make(tmp_path))
    assert (found.name, found.kind, found.classes) == ("pets", "lists", ("cat", "dog"))
    assert found.id_set.images == (tmp_path / "pets/cat.png", tmp_path / "pets/dog.png")
    assert found.id_set.labels.tolist() == [0, 1]
    assert [(one.name, one.group, len(one)) for one in found.ood_sets] == [("ninco", "near", 2), ("textures", "far", 1)]
    assert found.ood_sets[1].labels.tolist() == [-1], "labels of an OOD list are forced"
    assert [note for note in found.notes if "test_textures.txt: 1 pictures have a label" in note]
    assert [note for note in found.notes if "imagenet_v2" in note]
    assert len(found.id_set.sha256) == 64
    assert found.settings_file is None


def test_sets_may_be_chosen_and_grouped(tmp_path: Path) -> None:
    source = make(tmp_path, LISTS | {"test_mine.txt": "m.png -1\n"})
    assert [one.name for one in read_benchmark(source, chosen=["textures", "imagenet_v2"]).ood_sets] == [
        "imagenet_v2", "textures",
    ]  # fmt: skip
    found = read_benchmark(source)
    assert "in no mean: mine" in " ".join(found.notes)
    found = read_benchmark(source, near=["mine"], far=["ninco"])
    assert {one.name: one.group for one in found.ood_sets} == {"mine": "near", "ninco": "far", "textures": "far"}
    assert not [note for note in found.notes if "no mean" in note]
    with pytest.raises(UsageError, match="no OOD set nnco; there are: mine, ninco, textures"):
        read_benchmark(source, near=["nnco"])
    with pytest.raises(UsageError, match="both near and far: mine"):
        read_benchmark(source, near=["mine"], far=["mine"])
    with pytest.raises(UsageError, match=r"there is no list .*test_sun\.txt; OOD lists there: imagenet_v2, mine"):
        read_benchmark(source, chosen=["sun"])


def test_where_pictures_are(tmp_path: Path) -> None:
    source = make(tmp_path / "data")
    # OpenOOD's downloads put them below these
    for place in ("images_largescale/pets/cat.png", "images_classic/textures/a.png"):
        (source / place).parent.mkdir(parents=True)
        (source / place).touch()
    found = read_benchmark(source)
    assert found.id_set.images is not None
    assert found.id_set.images[1] == source / "images_largescale/pets/dog.png"
    assert found.ood_sets[0].images == (source / "ninco/a.png", source / "ninco/b.png")
    assert found.ood_sets[1].images == (source / "images_classic/textures/a.png",)
    elsewhere = read_benchmark(source, root=tmp_path / "other")
    assert elsewhere.id_set.images == (tmp_path / "other/pets/cat.png", tmp_path / "other/pets/dog.png")


def test_which_folder_may_be_given(tmp_path: Path) -> None:
    make(tmp_path / "world/pictures")
    (tmp_path / "world/ants.toml").touch()
    world = read_benchmark(tmp_path / "world")
    assert world.settings_file == tmp_path / "world/ants.toml"
    inner = read_benchmark(tmp_path / "world/pictures/benchmark_imglist/pets")
    assert inner.id_set.images == world.id_set.images
    make(tmp_path / "world/pictures", {"test_birds.txt": "b.png 0\n", "test_far.txt": "c.png -1\n"}, "birds")
    with pytest.raises(UsageError, match="several benchmarks: birds, pets; choose one with --id"):
        read_benchmark(tmp_path / "world")
    with pytest.raises(UsageError, match="no lists for 'fish'; there are: birds, pets"):
        read_benchmark(tmp_path / "world", id_name="fish")
    with pytest.raises(UsageError, match=r"no .*classes\.txt; name the ID classes"):
        read_benchmark(tmp_path / "world", id_name="birds")
    found = read_benchmark(tmp_path / "world", id_name="birds", classes=["owl"])
    assert (found.classes, found.ood_sets[0].group) == (("owl",), "far")


def test_the_embedded_world_is_found() -> None:
    world = Path(__file__).parents[3] / "examples" / "emoji_world"
    found = read_benchmark(world)
    assert [(one.name, one.group, len(one)) for one in found.sets] == [
        ("id", None, 840), ("far", "far", 760), ("near", "near", 800),
    ]  # fmt: skip
    assert np.bincount(found.id_set.labels).tolist() == [20] * 42
    assert find_list_folder(world) == find_list_folder(world / "pictures")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_pets.txt": None}, r"ID list test_pets\.txt is not there; found imagenet_v2, ninco, textures"),
        (
            {"test_pets.txt": "a.png 0\nb.png 2\n"},
            r"1 ID pictures have a label that is none of the 2 .*label 2 of .*b\.png",
        ),
        ({"test_pets.txt": "a.png 0\nb.png -1\n"}, r"label -1 of .*b\.png"),
        ({"test_ninco.txt": "a.png\t-1\n"}, r"test_ninco\.txt, line 1: .*not by a tab or comma"),
        ({"test_ninco.txt": "a.png one\n"}, r"test_ninco\.txt, line 1: the label 'one' is not a whole number"),
        ({"test_ninco.txt": "\n"}, r"test_ninco\.txt lists no picture"),
        ({"classes.txt": "# none\n"}, "names no class"),
        ({"test_ninco.txt": None, "test_textures.txt": None}, "there is no OOD set"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, changed: dict[str, str | None], message: str) -> None:
    files = {name: text for name, text in (LISTS | changed).items() if text is not None}
    with pytest.raises(UsageError, match=message):
        read_benchmark(make(tmp_path, files))


def test_nothing_of_the_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no benchmark in it\. Looked for benchmark_imglist"):
        read_benchmark(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        read_benchmark(tmp_path / "gone")
    (tmp_path / "list.txt").touch()
    with pytest.raises(UsageError, match=r"ends in \.npz"):
        read_benchmark(tmp_path / "list.txt")
    (tmp_path / "benchmark_imglist").mkdir()
    with pytest.raises(UsageError, match=r"no <id>/test_<name>\.txt in it"):
        read_benchmark(tmp_path)
