import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ants_engine.errors import UsageError
from ants_engine.evaluation.method import PassKey, PassScores
from ants_engine.evaluation.results_folder import ResultsFolder, file_name
from ants_engine.evaluation.summary import Spread, SummaryRow

SCORES = PassScores(np.array([1, -1]), np.array([0.5, -0.5]), np.array([1, -1]))


def row(dataset: str, auroc: Spread | None, *, failed: int = 0, degraded: int = 0) -> SummaryRow:
    values = {"FPR@95": Spread(12.345, 1.0), "AUROC": auroc, "AUPR_IN": Spread(1.0, 0.0), "AUPR_OUT": Spread(2.0, 0.0)}
    return SummaryRow(
        method="m",
        dataset=dataset,
        group="near",
        sets=1,
        is_mean=dataset == "nearood",
        prevalence=0.05,
        convention="id_positive",
        ids=10,
        oods=5,
        values=None if failed else {**values, "ACC": None},
        failed=failed,
        degraded=degraded,
    )


def test_files_have_openoods_form(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "a" / "b")
    folder.add_scores(PassKey("m", "ninco", 3, 0.05), SCORES)
    folder.add_scores(PassKey("m", "ninco", 3, None), SCORES)
    rows = [row("ninco", Spread(80.0, 0.25)), row("ssb", None, failed=1), row("x", Spread(1, 1), degraded=1)]
    folder.add_tables(rows, "a table\n")
    folder.add_record({"complete": True})
    place = tmp_path / "a" / "b"
    with np.load(place / "m/prevalence-0.05/scores/ninco-seed3.npz") as file:
        assert set(file.files) == {"pred", "conf", "label"}
        assert file["conf"].tolist() == [0.5, -0.5]
    with (place / "m/prevalence-0.05/ood_id_positive.csv").open(newline="") as text:
        assert list(csv.reader(text)) == [
            ["dataset", "FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"],
            ["ninco", "12.35", "80.00", "1.00", "2.00", ""],
            ["ssb", "", "", "", "", ""],
            ["x", "", "", "", "", ""],
        ]
    deviations = (place / "m/prevalence-0.05/ood_id_positive_std.csv").read_text().splitlines()
    assert deviations[1] == "ninco,1.00,0.25,0.00,0.00,"
    assert (place / "table.txt").read_text() == "a table\n"
    record = json.loads((place / "results.json").read_text())
    assert record["format"] == 1
    assert sorted(record["files"]) == sorted(
        path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()
    )


def test_a_single_seed_has_no_deviations(tmp_path: Path) -> None:
    only = row("ninco", Spread(80.0, None))
    one = SummaryRow(**{name: getattr(only, name) for name in only.__slots__} | {"values": {
        column: Spread(1.0, None) for column in only.values or {}
    }})  # fmt: skip
    ResultsFolder(tmp_path).add_tables([one], "")
    assert not list(tmp_path.rglob("*_std.csv"))


def test_the_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ResultsFolder(tmp_path / name).add_scores(PassKey("m", "ninco", 0, None), SCORES)
    first, second = sorted(tmp_path.rglob("*.npz"))
    assert first.read_bytes() == second.read_bytes()


def test_results_are_not_overwritten_unasked(tmp_path: Path) -> None:
    first = ResultsFolder(tmp_path / "out")
    first.add_scores(PassKey("old", "ninco", 0, None), SCORES)
    first.add_record({})
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not empty; name another folder, or overwrite with --force"):
        ResultsFolder(tmp_path / "out")
    ResultsFolder(tmp_path / "out", force=True)
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["mine.txt"]


def test_a_forged_record_reaches_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    out = tmp_path / "out"
    out.mkdir()
    for text in ('{"files": ["../precious.txt", "sub"]}', '{"files": "abc"}', "[1]", "not json"):
        (out / "results.json").write_text(text)
        (out / "sub").mkdir(exist_ok=True)
        ResultsFolder(out, force=True)
    assert (tmp_path / "precious.txt").exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used for the results"):
        ResultsFolder(tmp_path / "file")
    folder = ResultsFolder(tmp_path / "out")
    (tmp_path / "out" / "m").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        folder.add_scores(PassKey("m", "ninco", 0, None), SCORES)


def test_names_become_file_names() -> None:
    assert file_name("ssb_hard-1.0") == "ssb_hard-1.0"
    assert file_name("a/b") != file_name("a_b") != file_name("a b")
    assert not {"/", " ", "ü"} & set(file_name("../ü b"))
    assert not file_name("..").startswith(".")
    assert len(file_name("x" * 400)) < 100
