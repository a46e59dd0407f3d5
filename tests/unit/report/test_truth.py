import os
from pathlib import Path

import pytest
from PIL import Image

from ants_engine.datasets.benchmark import UNLABELLED
from ants_engine.errors import UsageError
from ants_engine.report.truth import Label, LabelBook, Truth

CLASSES = ("cat", "sea lion")


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_names_classes_sets_and_pictures_of_none(tmp_path: Path) -> None:
    text = 'picture,class\na.png,cat\n"b, c.png",Sea_Lion\nd.png,\ne.png,near\nf.png,id\n\ng.png,ood\nh.png\n'
    truth = LabelBook.read(write_csv(tmp_path, text), CLASSES).match(
        ["h.png", "a.png", "deep/b, c.png", "d.png", "e.png", "f.png", "g.png", "nobody.png"]
    )
    ood = Label("ood", -1)
    assert truth.labels == (
        ood, Label("id", 0), Label("id", 1), ood, Label("near", -1), Label("id", UNLABELLED), ood, None
    )  # fmt: skip
    assert sum(one is not None for one in truth.labels) == 7


def test_a_file_beside_the_csv_is_that_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    book = LabelBook.read(write_csv(tmp_path, "a.png,cat\n"), CLASSES)
    monkeypatch.chdir(tmp_path)
    assert None not in book.match(["a.png", str(tmp_path / "a.png")]).labels


def test_a_file_name_that_two_pictures_share_says_nothing() -> None:
    book = LabelBook.of_mapping({"one/a.png": "cat", "two/a.png": None}, CLASSES)
    assert book.match(["a.png", "two/a.png"]).labels == (None, Label("ood", -1))


def test_folders_are_read_as_an_evaluation_reads_them(tmp_path: Path) -> None:
    for place in ("id/cat", "id/sea_lion", "far/things", "near/others"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / place / "a.png")
    book = LabelBook.read(tmp_path, CLASSES)
    assert len(book.images) == 4
    truth = book.match([str(image) for image in book.images])
    assert sorted((one.set_name, one.label) for one in truth.labels if one) == [
        ("id", 0), ("id", 1), ("others", -1), ("things", -1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png,dog\n", "line 1: 'dog' is no ID class"),
        ("picture,class\n", "no line of the form picture,class"),
        ("other.png,cat\n", "none of its 1 pictures is among those of the report"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LabelBook.read(write_csv(tmp_path, text), CLASSES).match(["a.png"])


def test_not_utf8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"a\xff.png,cat\n")
    with pytest.raises(UsageError, match="UTF-8"):
        LabelBook.read(path, CLASSES)


def test_the_name_of_a_file_that_is_there_may_be_any_bytes(tmp_path: Path) -> None:
    names = [os.fsdecode(b"\xff\xfe.png"), os.fsdecode(b"caf\xe9.png"), "two\nlines.png"]
    for name in names:
        (tmp_path / name).touch()
    path = tmp_path / "labels.csv"
    path.write_bytes(b"picture,class\n" + b"".join(b'"' + os.fsencode(name) + b'",cat\n' for name in names))
    truth = LabelBook.read(path, CLASSES).match([str(tmp_path / name) for name in names])
    assert truth.labels == (Label("id", 0),) * 3


def test_a_sequence_is_one_word_a_picture() -> None:
    assert Truth.of_sequence(["cat", None, "far"], CLASSES).labels == (Label("id", 0), None, Label("far", -1))
    with pytest.raises(UsageError, match="label 0: 'lynx'"):
        Truth.of_sequence(["lynx"], CLASSES)


def test_a_class_that_is_called_far_is_a_class() -> None:
    assert Truth.of_sequence(["far"], ("near", "far")).labels == (Label("id", 1),)
