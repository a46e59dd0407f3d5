import numpy as np
import pytest
import torch

from ants_engine.errors import AuthenticationError, NotEnoughAnswersError, UsageError
from ants_engine.evaluation.method import (
    EvaluationPlan,
    EvaluationStream,
    MethodFacts,
    MethodResult,
    PassResult,
    PassScores,
)
from ants_engine.evaluation.runner import run_passes, unreadable_pictures
from tests.unit.evaluation.benchmarks import Told, benchmark, id_set, ood_set, unreadable


@pytest.fixture(autouse=True)
def sklearn() -> None:
    """Needed, and imported by no process of pytest-xdist that runs none of these tests."""
    pytest.importorskip("sklearn")


def by_side(features: torch.Tensor) -> torch.Tensor:
    """Score ID rows 0.1, 0.2, … and OOD rows 0.15, 0.25, …"""
    return 0.1 * (features[:, 0] + 1) + torch.where(features[:, -1] > 0, 0.0, 0.05)


async def test_metrics_of_a_pass_by_hand() -> None:
    small = benchmark(id_set([0, 1, 0]), ood_set(2))
    plan = EvaluationPlan(conventions=("openood", "id_positive"))
    kept: list[tuple[PassResult, PassScores | None]] = []
    (result,) = await run_passes(small, [Told(by_side)], plan, on_pass=lambda *one: kept.append(one))
    # ID 0.1, 0.2, 0.3 against OOD 0.15, 0.25: right are (0.2, 0.15), (0.3, 0.15), (0.3, 0.25) of six pairs
    assert result.metrics is not None
    openood, id_positive = result.metrics["openood"], result.metrics["id_positive"]
    assert openood.auroc == pytest.approx(3 / 6)
    # to catch both OOD, 0.25 must raise an alarm: so do 0.1 and 0.2
    assert openood.fpr95 == pytest.approx(2 / 3)
    # to keep all three ID, 0.1 must pass: so do both OOD
    assert id_positive.fpr95 == 1.0
    # rows 0, 1, 2 are predicted as 0, 1, 2
    assert openood.accuracy == pytest.approx(2 / 3)
    assert (result.ids, result.oods, result.error, result.degraded) == (3, 2, None, False)
    scores = kept[0][1]
    assert scores is not None
    assert sorted(zip(scores.conf.round(2).tolist(), scores.pred.tolist(), scores.label.tolist(), strict=True)) == [
        (0.1, 0, 0), (0.15, 0, -1), (0.2, 1, 1), (0.25, 1, -1), (0.3, 2, 0),
    ]  # fmt: skip
    assert scores.conf.dtype == np.float64


async def test_an_unreadable_picture_stays_in_the_denominator() -> None:
    small = benchmark(id_set([0, 1, 2, 0], unreadable(3)), ood_set(3, failures=unreadable(0)))
    told = Told(lambda features: features[:, -1])
    kept: list[PassScores | None] = []
    (result,) = await run_passes(small, [told], EvaluationPlan(), on_pass=lambda _, scores: kept.append(scores))
    # a method sees neither
    assert len(told.streams[0]) == 5
    assert (result.ids, result.oods, result.unreadable_ids, result.unreadable_oods) == (4, 3, 1, 1)
    # ID 1, 1, 1, -2 against OOD -1, -1, -2: of twelve pairs the unreadable ID picture loses two and ties with one
    assert result.metrics is not None
    assert result.metrics["openood"].auroc == pytest.approx((9 + 0.5) / 12)
    # right are three of four, not of three
    assert result.metrics["openood"].accuracy == pytest.approx(3 / 4)
    assert kept[0] is not None
    assert sorted(kept[0].conf.tolist()) == [-2.0, -2.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    assert (kept[0].pred == -1).sum() == 2
    assert [name for name, _ in unreadable_pictures(small)] == ["id", "near"]


async def test_every_method_seed_set_and_prevalence_has_its_pass() -> None:
    small = benchmark(id_set([0] * 12), ood_set(12), ood_set(9, "far", "far"))
    methods = [Told(by_side, "one"), Told(by_side, "two")]
    plan = EvaluationPlan(seeds=(0, 3), prevalences=(None, 0.2), batch_size=5)
    results = await run_passes(small, methods, plan)
    keys = [(one.key.method, one.key.ood_set, one.key.seed, one.key.prevalence) for one in results]
    assert len(set(keys)) == len(keys) == 16
    assert [one.name for one in methods] == [key[0] for key in keys[:2]]
    # both saw the very same streams
    for mine, other in zip(methods[0].streams, methods[1].streams, strict=True):
        assert mine is other
        assert mine.batch_size == 5
    assert {(one.key.prevalence, one.key.ood_set): (one.ids, one.oods) for one in results} == {
        (None, "near"): (12, 12), (None, "far"): (12, 9), (0.2, "near"): (12, 3), (0.2, "far"): (12, 3),
    }  # fmt: skip


async def test_an_error_costs_one_pass_and_a_fatal_one_the_method() -> None:
    small = benchmark(id_set([0] * 4), ood_set(4))
    plan = EvaluationPlan(seeds=(0, 1, 2))
    few = Told(by_side, "few", error=NotEnoughAnswersError("ens: 1 of 9 answers", [ValueError("x")]))
    key = Told(by_side, "key", error=AuthenticationError("the key is refused"))
    fine = Told(by_side, "fine")
    results = await run_passes(small, [few, key, fine], plan)
    assert (len(few.streams), len(key.streams), len(fine.streams)) == (3, 1, 3)
    said = [(one.error or "").partition(":")[0] for one in results if one.key.method == "key"]
    assert said == ["AuthenticationError", "not run again after AuthenticationError", said[1]]
    assert all("1 of 9 answers" in (one.error or "") for one in results if one.key.method == "few")
    assert [one.metrics is None for one in results] == [True, True, False] * 3


async def test_failed_requests_are_told() -> None:
    small = benchmark(id_set([0] * 4), ood_set(4))
    poor = Told(by_side, facts=MethodFacts(asked=10, failed=3))
    (result,) = await run_passes(small, [poor], EvaluationPlan(), min_success=0.8)
    assert result.degraded
    assert result.metrics is not None
    (result,) = await run_passes(small, [poor], EvaluationPlan(), min_success=0.5)
    assert not result.degraded


class Short:
    """A defective method."""

    name = "short"

    async def run(self, stream: EvaluationStream) -> MethodResult:
        return MethodResult(np.zeros(1, dtype=np.int64), np.zeros(1))


async def test_scores_that_are_none() -> None:
    small = benchmark(id_set([0] * 4), ood_set(4))
    nan = Told(lambda features: torch.where(features[:, 0] > 2, torch.nan, 1.0), "nan")
    first, second = await run_passes(small, [nan, Short()], EvaluationPlan())
    assert first.error == "2 of 8 scores are NaN or infinite"
    assert "(1,) predictions" in str(second.error)
    assert first.metrics is second.metrics is None


async def test_without_labels_there_is_no_accuracy() -> None:
    small = benchmark(id_set([-2, -2]), ood_set(2))
    kept: list[PassScores | None] = []
    (result,) = await run_passes(small, [Told(by_side)], EvaluationPlan(), on_pass=lambda _, one: kept.append(one))
    assert result.metrics is not None
    assert result.metrics["openood"].accuracy is None
    assert kept[0] is not None
    assert sorted(kept[0].label.tolist()) == [-2, -2, -1, -1]


async def test_misuse() -> None:
    small = benchmark(id_set([0] * 4), ood_set(4))
    with pytest.raises(UsageError, match="each once; given: told, told"):
        await run_passes(small, [Told(by_side), Told(by_side)], EvaluationPlan())
    with pytest.raises(UsageError, match="given: none"):
        await run_passes(small, [], EvaluationPlan())
    told = Told(by_side)
    with pytest.raises(UsageError, match=r"prevalence 0\.05 leaves"):
        await run_passes(small, [told], EvaluationPlan(prevalences=(0.5, 0.05)))
    assert not told.streams, "nothing is run where a later stream cannot be drawn"
    with pytest.raises(UsageError, match="none of the 2 near pictures can be read"):
        await run_passes(benchmark(id_set([0]), ood_set(2, failures=unreadable(0, 1))), [told], EvaluationPlan())
