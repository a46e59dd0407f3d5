from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import FeatureError, UsageError

UNIT = np.eye(4, dtype=np.float32)
ARRAYS: dict[str, Any] = {
    "image_features": UNIT[[0, 1, 2, 3, 3]],
    "labels": np.array([0, 1, -1, -1, -1]),
    "sets": np.array(["id", "id", "near/wolves", "far/walls", "far/walls"]),
    "class_names": np.array(["cat", "dog"]),
    "class_features": UNIT[:2],
    "negative_features": UNIT[2:],
    "negative_texts": np.array(["wall", "sky"]),
    "logit_scale": np.array(50.0),
    "clip": np.array("ab" * 32),
}


def make(folder: Path, **changed: Any) -> Path:
    arrays = {key: value for key, value in (ARRAYS | changed).items() if value is not None}
    path = folder / "features.npz"
    np.savez(path, **arrays)
    return path


def test_a_file_becomes_a_benchmark(tmp_path: Path) -> None:
    found = read_benchmark(make(tmp_path))
    assert (found.name, found.kind, found.classes, found.clip) == ("features", "features", ("cat", "dog"), "ab" * 32)
    assert [(one.name, one.group, one.labels.tolist()) for one in found.sets] == [
        ("id", None, [0, 1]), ("walls", "far", [-1, -1]), ("wolves", "near", [-1]),
    ]  # fmt: skip
    assert found.ood_sets[0].features is not None
    assert torch.equal(found.ood_sets[0].features, torch.from_numpy(UNIT[[3, 3]]))
    assert found.space is not None
    assert found.space.logit_scale == 50.0
    assert found.space.negative_texts == ("wall", "sky")
    assert not found.notes


def test_less_is_enough(tmp_path: Path) -> None:
    left_out = dict.fromkeys(
        ("sets", "class_features", "negative_features", "negative_texts", "logit_scale", "clip", "class_names")
    )
    found = read_benchmark(make(tmp_path, **left_out), classes=["cat", "dog"])
    assert found.space is None
    assert [(one.name, one.group, len(one)) for one in found.sets] == [("id", None, 2), ("ood", "other", 3)]
    assert "does not say which CLIP" in found.notes[0]
    unlabelled = read_benchmark(make(tmp_path, labels=None))
    assert unlabelled.id_set.labels.tolist() == [-2, -2]


def test_a_folder_with_a_file_per_set(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    np.savez(tmp_path / "id.npz", image_features=UNIT[:2], labels=np.array([0, 1]))
    np.savez(tmp_path / "ninco.npz", image_features=UNIT[2:3])
    np.savez(tmp_path / "far" / "walls.npz", image_features=UNIT[2:], labels=np.array([7, -1]))
    np.savez(tmp_path / "classes.npz", class_names=np.array(["cat", "dog"]), class_features=UNIT[:2])
    found = read_benchmark(tmp_path)
    assert [(one.name, one.group, one.labels.tolist()) for one in found.sets] == [
        ("id", None, [0, 1]), ("ninco", "near", [-1]), ("walls", "far", [-1, -1]),
    ]  # fmt: skip
    assert found.space is not None
    assert found.space.negative_features is None
    assert "walls.npz: 1 rows of walls have a label; taken as -1" in " ".join(found.notes)
    assert [one.name for one in read_benchmark(tmp_path, chosen=["walls"]).ood_sets] == ["walls"]
    with pytest.raises(UsageError, match="no OOD set sun; there are: ninco, walls"):
        read_benchmark(tmp_path, chosen=["sun"])
    np.savez(tmp_path / "stray.npz", labels=np.array([0]))
    with pytest.raises(UsageError, match=r"stray\.npz: no image_features"):
        read_benchmark(tmp_path)
    np.savez(tmp_path / "stray.npz", image_features=UNIT[:1], class_features=UNIT[1:3])
    with pytest.raises(UsageError, match=r"stray\.npz: another class_features"):
        read_benchmark(tmp_path)
    np.savez(tmp_path / "stray.npz", image_features=UNIT[:1], sets=np.array(["a"]))
    with pytest.raises(UsageError, match="the file's name is the set's"):
        read_benchmark(tmp_path)


def test_what_is_not_normalised_is_normalised_with_a_note(tmp_path: Path) -> None:
    found = read_benchmark(make(tmp_path, image_features=3.0 * ARRAYS["image_features"].astype(np.float64)))
    assert found.id_set.features is not None
    assert torch.equal(found.id_set.features, torch.from_numpy(UNIT[:2]))
    (note,) = found.notes
    assert "image_features: 5 of 5 rows were not of length 1" in note
    half = read_benchmark(make(tmp_path, image_features=ARRAYS["image_features"].astype(np.float16)))
    assert not half.notes, "rounding to half precision is no reason for a note"


def broken(row: int, value: float) -> np.ndarray:
    features = ARRAYS["image_features"].copy()
    features[row] = value
    return features


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"image_features": broken(3, np.nan)},
            FeatureError,
            r"1 rows are NaN, infinite or all zero, first rows: \[3\]",
        ),
        ({"image_features": broken(1, 0.0)}, FeatureError, r"all zero, first rows: \[1\]"),
        ({"image_features": np.ones(5)}, FeatureError, r"shape \(5,\); floats of shape \(rows, D\)"),
        ({"image_features": np.ones((5, 4), dtype=np.int64)}, FeatureError, "int64"),
        ({"image_features": np.eye(5)}, FeatureError, "class_features are of width 4 and image_features of width 5"),
        ({"class_features": UNIT[:3]}, FeatureError, "class_features of 3 classes, and 2 class names"),
        ({"negative_features": np.eye(5)}, FeatureError, "negative_features are of width 5"),
        ({"negative_texts": np.array(["wall"])}, UsageError, "1 negative_texts for 2 negative_features"),
        ({"class_features": None}, UsageError, "negative_features, logit_scale without class_features"),
        ({"class_names": None}, UsageError, "no class_names in it"),
        ({"class_names": np.array([1, 2])}, UsageError, "class_names is int64 .* a str array is needed"),
        ({"class_names": np.array(["cat", None])}, UsageError, "cannot be read as .npz.*save texts as str arrays"),
        ({"labels": np.array([0.0, 1.0, -1, -1, -1])}, UsageError, "labels are float64"),
        ({"labels": np.array([0, 1, -1])}, UsageError, r"labels are int64 of shape \(3,\)"),
        ({"labels": np.array([0, 2, -1, -1, -1])}, UsageError, "label 2 of id row 1"),
        ({"labels": np.array([0, -1, -1, -1, -1])}, UsageError, "label -1 of id row 1"),
        ({"labels": None, "sets": None}, UsageError, "neither sets nor labels"),
        ({"sets": np.array(["a", "b", "c", "d", "e"])}, UsageError, "needs one set called 'id'.*found a, b, c, d, e"),
        ({"sets": np.array(["id"])}, UsageError, "sets is .* a str array of shape"),
        ({"sets": np.array(["id"] * 5), "labels": None}, UsageError, "there is no OOD set"),
        ({"logit_scale": np.array(0.0)}, UsageError, "logit_scale is 0.0"),
        ({"image_feature": UNIT}, UsageError, "unknown keys image_feature; known are class_features"),
        ({"image_features": None}, UsageError, "found no image_features"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_benchmark(make(tmp_path, **changed))


def test_no_npz(tmp_path: Path) -> None:
    path = make(tmp_path)
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", UNIT)
    for content in (b"", b"hello", whole[:-40], (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"features\.npz: no \.npz file, or cut off"):
            read_benchmark(path)
    middle = whole.index(b"NUMPY") + 200
    path.write_bytes(whole[:middle] + bytes(8) + whole[middle + 8 :])
    with pytest.raises(UsageError, match=r"features\.npz: cannot be read as \.npz"):
        read_benchmark(path)


def test_widths_must_agree_between_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "id.npz", image_features=UNIT, labels=np.zeros(4, dtype=np.int64))
    np.savez(tmp_path / "ninco.npz", image_features=np.eye(5))
    with pytest.raises(FeatureError, match=r"widths \[4, 5\]"):
        read_benchmark(tmp_path, classes=["cat"])
