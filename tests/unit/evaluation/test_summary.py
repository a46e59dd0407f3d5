from typing import Any

import pytest

from ants_engine.evaluation.method import MethodFacts, PassKey, PassResult
from ants_engine.evaluation.summary import Spread, summarise
from ants_engine.method.metrics import Metrics


def result(ood_set: str, seed: int, auroc: float | None, **changed: Any) -> PassResult:
    metrics = None
    if auroc is not None:
        metrics = {"openood": Metrics(0.5, auroc, 0.25, 0.75, changed.pop("accuracy", 0.9), "openood")}
    group = {"near_1": "near", "near_2": "near", "far": "far"}.get(ood_set, "other")
    return PassResult(
        key=PassKey(changed.pop("method", "m"), ood_set, seed, None),
        group=group,  # type: ignore[arg-type]
        ids=10,
        oods=5,
        unreadable_ids=0,
        unreadable_oods=0,
        facts=MethodFacts(),
        degraded=changed.pop("degraded", False),
        seconds=0.0,
        metrics=metrics,  # type: ignore[arg-type]
        error=None if metrics else "it broke",
    )


def test_means_over_seeds_and_over_sets() -> None:
    rows = summarise(
        [
            result("mine", 0, 0.1),
            result("mine", 1, 0.1),
            result("far", 0, 0.3),
            result("far", 1, 0.5),
            result("near_1", 0, 0.8),
            result("near_1", 1, 0.6),
            result("near_2", 0, 0.4),
            result("near_2", 1, 0.4),
        ],
        ["openood"],
    )
    assert [row.dataset for row in rows] == ["near_1", "near_2", "nearood", "far", "farood", "mine"]
    found = {row.dataset: row.values["AUROC"] for row in rows if row.values}
    # 80 and 60: mean 70, deviation sqrt(200)
    assert found["near_1"] == Spread(pytest.approx(70.0), pytest.approx(200**0.5))
    # the sets are averaged at each seed first: 60 and 50
    assert found["nearood"] == Spread(pytest.approx(55.0), pytest.approx(50**0.5))
    assert found["farood"] == found["far"] == Spread(pytest.approx(40.0), pytest.approx(200**0.5))
    mean = next(row for row in rows if row.dataset == "nearood")
    assert (mean.is_mean, mean.sets, mean.ids, mean.convention) == (True, 2, None, "openood")


def test_a_failed_pass_leaves_no_number() -> None:
    rows = summarise([result("near_1", 0, 0.8), result("near_1", 1, None), result("near_2", 0, 0.4)], ["openood"])
    found = {row.dataset: row for row in rows}
    assert found["near_1"].values is None
    assert found["near_1"].failed == 1
    assert found["nearood"].values is None
    assert found["near_2"].values is not None


def test_a_degraded_pass_is_marked_and_a_missing_accuracy_stays_missing() -> None:
    (row, mean) = summarise([result("far", 0, 0.8, degraded=True, accuracy=None)], ["openood"])
    assert (row.degraded, mean.degraded) == (1, 1)
    assert row.values is not None
    assert row.values["ACC"] is None
    assert row.values["FPR@95"] == Spread(50.0, None)
    assert row.to_dict()["percent"]["AUROC"] == {"mean": pytest.approx(80.0), "std": None}


def test_mean_and_sample_deviation() -> None:
    # deviations -1, 0, 1: variance 2 / (3 - 1)
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(2.0, 1.0)
    assert str(Spread.of([1.0, 2.0, 3.0])) == "2.00 ± 1.00"


def test_a_single_value_has_no_deviation() -> None:
    assert Spread.of([12.345]) == Spread(12.345, None)
    assert str(Spread.of([12.344])) == "12.34"


def test_nothing_to_describe() -> None:
    with pytest.raises(ValueError, match="no value"):
        Spread.of([])
