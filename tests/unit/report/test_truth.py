import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ants_engine.datasets.benchmark import UNLABELLED
from ants_engine.errors import ImageUnreadableError, UsageError
from ants_engine.evaluation.comparison import compare
from ants_engine.report.truth import ALL_OOD, Label, LabelBook, Truth, compare_methods
from tests.unit.detector.detectors import small_detector, unit_rows

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


FEATURES = unit_rows(80, 11)
WORDS = [("cat", "near", "far", "dog")[row % 4] for row in range(80)]
SAME = {
    "MCM": "MCM",
    "NegLabel (S_nl)": "NegLabel",
    "NegLabel, one group": "NegLabel, one group",
    "ANTS S_ens": "ANTS S_ens",
    "ANTS S_vsnl": "ANTS S_vsnl",
    "ANTS": "ANTS S_ada",
    "ANTS union": "ANTS S_union",
}


def test_numbers_are_those_of_the_comparison() -> None:
    detector = small_detector(6, 5)
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(WORDS, detector.classes.names)
    found = compare_methods(detector, FEATURES, scores, truth, "openood")
    assert found is not None
    sets = [word if word in ("near", "far") else "id" for word in WORDS]
    labels = [-1 if one is None else one.label for one in truth.labels]
    expected = compare(detector, FEATURES.numpy(), scores, sets, labels)
    by_name = {method.name: method for method in found.methods}
    for shown, name in SAME.items():
        own = {one.ood_set: one for one in by_name[shown].sets}
        assert set(own) == {"near", "far", ALL_OOD}
        for ood_set in ("near", "far"):
            metrics = expected.metrics[name][ood_set]
            assert own[ood_set].auroc == pytest.approx(metrics.auroc, abs=1e-9)
            assert own[ood_set].fpr95_openood == pytest.approx(metrics.fpr95, abs=1e-9)
    assert found.accuracy == pytest.approx(expected.metrics["MCM"]["near"].accuracy)


@pytest.mark.parametrize("convention", ["openood", "id_positive"])
def test_curves_run_from_corner_to_corner_and_bound_their_area(convention: str) -> None:
    detector = small_detector(6, 5)
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(WORDS, detector.classes.names)
    found = compare_methods(detector, FEATURES, scores, truth, convention)  # type: ignore[arg-type]
    assert found is not None
    for method in found.methods:
        x, y = map(np.asarray, zip(*method.roc, strict=True))
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all()
        (area,) = (one.auroc for one in method.sets if one.ood_set == ALL_OOD)
        assert np.trapezoid(y, x) == pytest.approx(area, abs=0.02)


def test_unreadable_and_unlabelled_pictures_have_no_part() -> None:
    detector = small_detector(6, 5)
    failures = {0: ImageUnreadableError("a.png", "is none")}
    words: list[str | None] = [*WORDS]
    words[1] = None
    scores = detector.score(FEATURES, failures=failures)
    found = compare_methods(detector, FEATURES, scores, Truth.of_sequence(words, detector.classes.names), "openood")
    kept = FEATURES[2:]
    fewer = compare_methods(
        detector, kept, detector.score(kept), Truth.of_sequence(words[2:], detector.classes.names), "openood"
    )
    assert found == fewer


def test_one_side_alone_cannot_be_measured() -> None:
    detector = small_detector()
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(["cat"] * 80, detector.classes.names)
    assert compare_methods(detector, FEATURES, scores, truth, "openood") is None
