from pathlib import Path

import numpy as np
import pytest

from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet, find_overlaps, group_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("ssb_hard", "near"),
        ("SSB-hard", "near"),
        ("ninco", "near"),
        ("near", "near"),
        ("near_wolves", "near"),
        ("nearly_all", "other"),
        ("inaturalist", "far"),
        ("dtd", "far"),
        ("OpenImage_O", "far"),
        ("places365", "far"),
        ("far-2", "far"),
        ("farm", "other"),
        ("mine", "other"),
    ],
)
def test_groups_by_name(name: str, group: str) -> None:
    assert group_of(name) == group


def test_shared_pictures_are_found_by_path_and_by_content(tmp_path: Path) -> None:
    contents = {"a": b"one", "b": b"two", "c": b"three", "copy": b"one", "like": b"six", "other": b"1234567"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    def one(name: str, *files: str, label: int = -1) -> BenchmarkSet:
        images = tuple(tmp_path / file for file in files)
        return BenchmarkSet(name, "near" if label else None, np.full(len(files), label), images)

    ids = one("id", "a", "b", "gone", label=0)
    mixed = one("mixed", "a", "a", "copy", "like", "other", "c", "gone2")
    (found,) = find_overlaps(Benchmark("x", "lists", ("cat",), ids, (mixed, one("clean", "other"))))
    assert found.ood_set == "mixed"
    assert found.same_path == (str(tmp_path / "a"),)
    assert found.same_content == (str(tmp_path / "copy"),)
    assert str(found).startswith("2 pictures of mixed stand in the ID set too (1 by path, 1 by content): ")


def test_features_are_not_compared() -> None:
    ids = BenchmarkSet("id", None, np.zeros(1, dtype=np.int64), images=(b"bytes",))
    ood = BenchmarkSet("near", "near", np.full(1, -1), images=(b"bytes",))
    assert find_overlaps(Benchmark("x", "features", ("cat",), ids, (ood,))) == []
