"""Everything that is needed to run an evaluation again, as plain JSON-able values."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ants_engine.common.versions import installed_versions
from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet
from ants_engine.evaluation.method import MethodFacts
from ants_engine.evaluation.passes import PassResult
from ants_engine.evaluation.plan import EvaluationPlan

PACKAGES = (
    "ants-engine", "torch", "torchvision", "open_clip_torch", "numpy", "pillow", "scikit-learn", "transformers",
    "openai",
)  # fmt: skip
"""What scores and metrics depend on."""


def package_versions() -> dict[str, str | None]:
    """Return versions of Python and `PACKAGES`; ``None`` for what is not installed."""
    return {"platform": platform.platform(), **installed_versions(PACKAGES)}


def benchmark_record(benchmark: Benchmark) -> dict[str, Any]:
    """Describe what was measured on."""
    return {
        "name": benchmark.name,
        "kind": benchmark.kind,
        "classes": list(benchmark.classes),
        "sets": [_set_record(one) for one in benchmark.sets],
        "notes": list(benchmark.notes),
    }


def plan_record(plan: EvaluationPlan) -> dict[str, Any]:
    """Describe how it was run."""
    return {
        "seeds": list(plan.seeds),
        "prevalences": list(plan.prevalences),
        "share": plan.share,
        "batch_size": plan.batch_size,
        "fpr95_conventions": list(plan.conventions),
    }


def requests_record(results: Sequence[PassResult]) -> dict[str, int | None]:
    """Add up the requests to the MLLM, each run once; tokens are ``None`` where nobody counted them."""
    runs = [one.facts for one in results if one.facts.same_run_as is None]
    return {
        "asked": sum(one.asked for one in runs),
        "from_store": sum(one.from_store for one in runs),
        "failed": sum(one.failed for one in runs),
        "prompt_tokens": _sum([one.prompt_tokens for one in runs if one.requests]),
        "completion_tokens": _sum([one.completion_tokens for one in runs if one.requests]),
    }


def models_record(results: Sequence[PassResult]) -> dict[str, Any]:
    """Name the MLLMs and prompt templates that had a part."""
    mllms: list[Mapping[str, Any]] = []
    templates: dict[str, str] = {}
    for facts in _facts(results):
        if facts.mllm and facts.mllm not in mllms:
            mllms.append(facts.mllm)
        templates |= facts.templates
    return {"mllm": [dict(one) for one in mllms], "templates": dict(sorted(templates.items()))}


def _facts(results: Sequence[PassResult]) -> list[MethodFacts]:
    return [one.facts for one in results]


def _set_record(one: BenchmarkSet) -> dict[str, Any]:
    features = one.features
    return {
        "name": one.name,
        "group": one.group,
        "pictures": len(one),
        "unreadable": len(one.failures),
        "labelled": one.labelled if one.group is None else None,
        "origin": one.origin,
        "sha256": one.sha256 or None,
        # tells at once whether two runs saw the same bits
        "features_sha256": None if features is None else hashlib.sha256(features.numpy().tobytes()).hexdigest(),
    }


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
