from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ants_engine.datasets.benchmark import Benchmark, FeatureSpace
from ants_engine.errors import UsageError
from ants_engine.evaluation.method import EvaluationPlan, method_names
from ants_engine.evaluation.methods import make_methods
from ants_engine.evaluation.runner import run_passes
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from tests.unit.detector.detectors import unit_rows
from tests.unit.evaluation.benchmarks import benchmark, id_set, ood_set


@pytest.fixture(autouse=True)
def sklearn() -> None:
    """Needed, and imported by no process of pytest-xdist that runs none of these tests."""
    pytest.importorskip("sklearn")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        {"dispatch": {"store": str(tmp_path / "store")}, "mllm": {"backend": "scripted"}}, progress={"bar": "off"}
    )


def given(negatives: int | None = 6) -> Benchmark:
    """Random features, with text features beside them, so that no CLIP is needed."""
    small = benchmark(id_set([0, 1, 2, 0]), ood_set(5))
    return replace(
        small,
        id_set=replace(small.id_set, features=unit_rows(4, 1)),
        ood_sets=(replace(small.ood_sets[0], features=unit_rows(5, 2)),),
        space=FeatureSpace(unit_rows(3, 3), None if negatives is None else unit_rows(negatives, 4), None, 20.0),
    )


async def test_features_alone_are_enough_for_the_baselines(settings: Settings) -> None:
    found = await make_methods(None, given(), settings)
    names = [method.name for method in found.methods]
    assert names == ["mcm", "max-logit", "energy", "neglabel", "neglabel-1", "adaneg"]
    left_out = [note.partition(" is left out")[0] for note in found.notes]
    assert left_out == [name for name in method_names() if name not in names]
    assert {"eoe", "ants", "ants-frozen"} <= set(left_out)
    results = await run_passes(given(), found.methods, EvaluationPlan(batch_size=2))
    assert [one.error for one in results] == [None] * 6


async def test_mcm_by_hand(settings: Settings) -> None:
    one = given()
    assert one.id_set.features is not None
    assert one.space is not None
    found = await make_methods(["mcm"], one, settings)
    kept = []
    await run_passes(one, found.methods, EvaluationPlan(), on_pass=lambda _, scores: kept.append(scores))
    logits = 20.0 * torch.cat([one.id_set.features, one.ood_sets[0].features]) @ one.space.class_features.T
    expected = torch.softmax(logits.double(), dim=1).amax(dim=1)
    assert np.sort(kept[0].conf) == pytest.approx(np.sort(expected.numpy()), abs=1e-6)


async def test_without_negatives(settings: Settings) -> None:
    found = await make_methods(None, given(None), settings)
    assert [method.name for method in found.methods] == ["mcm", "max-logit", "energy"]
    with pytest.raises(UsageError, match="neglabel cannot be run on small: there are no negative_features"):
        await make_methods(["mcm", "neglabel"], given(None), settings)
    with pytest.raises(UsageError, match="eoe cannot be run on small: it encodes an MLLM's texts"):
        await make_methods(["eoe"], given(), settings)


async def test_a_name_that_is_none(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"no method 'negalbel'; did you mean neglabel\? There are: mcm, "):
        await make_methods(["negalbel"], given(), settings)
    assert set(method_names()) >= {"mcm", "neglabel", "eoe", "adaneg", "ants", "ants-ens", "ants-vsnl", "ants-frozen"}


async def test_a_stream_method_starts_anew_with_every_stream(settings: Settings) -> None:
    found = await make_methods(["adaneg"], given(), settings)
    kept = []
    plan = EvaluationPlan(batch_size=3)
    for _ in range(2):
        await run_passes(given(), found.methods, plan, on_pass=lambda _, scores: kept.append(scores))
    assert kept[0].conf.tobytes() == kept[1].conf.tobytes()
