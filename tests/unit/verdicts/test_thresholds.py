"""Rules for the threshold on a small world, and what is made of their figures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from benchmarks.verdicts import thresholds
from benchmarks.verdicts.states import answers, batch_build, drawn, judged
from benchmarks.verdicts.thresholds import (
    Estimated,
    best,
    by_judge,
    calibrated,
    estimate_table,
    isotonic,
    measure,
    non_decreasing,
    ours,
    shares,
    threshold_table,
)
from benchmarks.verdicts.worlds import World

RATE = st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.75, 1.0]), st.sampled_from([0.5, 1.0, 10.0]))


@given(st.lists(RATE, min_size=1, max_size=12))
def test_isotonic_regression(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    theirs = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weights)
    assert non_decreasing(values, weights) == pytest.approx(theirs)


def test_shares() -> None:
    scores, is_id = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([False, True, False, True])
    assert shares(scores, is_id, 0.3) == (0.5, 0.5)
    assert math.isnan(shares(scores, torch.ones(4, dtype=torch.bool), 0.3)[0])


@pytest.mark.parametrize("prevalence", [0.0, 0.2, 0.4])
def test_a_judge_that_never_errs(world: World, prevalence: float) -> None:
    yes = answers(world, 1.0, 0.0)
    state = batch_build(world, drawn(world, 0, prevalence), yes, describe=0.5)
    verdict = judged(state, yes)
    found = by_judge(state, verdict, yes)
    _, flagged = shares(verdict.log_odds, verdict.is_id, found.threshold)
    assert flagged == pytest.approx(0.05, abs=0.04)
    assert shares(verdict.log_odds, verdict.is_id, isotonic(verdict))[1] == pytest.approx(0.05, abs=0.05)
    assert best(verdict.log_odds, verdict.is_id)[1] == pytest.approx(0.05, abs=0.01)
    # mined pictures are asked about as well, each picture once
    assert found.questions == verdict.questions


def test_every_rule_has_a_figure_at_every_prevalence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "PREVALENCES", (0.0, 0.3))
    monkeypatch.setattr(thresholds, "JUDGES", ((0.9, 0.1),))
    found, estimates = measure([world], range(2))
    assert {len(values) for values in found.values()} == {2}
    table = threshold_table(found).splitlines()
    assert table[0] == "| rule | 0 % | 30 % |"
    assert len(table) == 2 + 4 + 5 + 5
    assert sum(line.startswith(f"| {ours(0.9, 0.1)} | – / ") for line in table) == 1
    assert {one.name for one in estimates} >= {"prevalence", "false alarms"}


def test_estimates_beside_the_truth() -> None:
    table = estimate_table([Estimated("misses", 0.1, 0.01, 0.11), Estimated("misses", 0.3, 0.01, 0.33)])
    assert table.splitlines()[2] == "| misses | 20.0 | 22.0 | 1.0 | 2.2 | 50.0 |"


def test_calibration_keeps_what_it_promises(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "CALIBRATION_SIZES", (20, 100))
    for row in calibrated([world]):
        if row.expected is not None:
            assert row.kept == pytest.approx(row.expected, abs=4 * row.error)
