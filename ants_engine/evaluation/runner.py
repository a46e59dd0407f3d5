"""Running methods over a benchmark: per OOD set, seed and prevalence one pass each, from nothing.

Source of the protocol: OpenOOD v1.5 (arXiv 2306.09301) and ANTS (arXiv 2509.03951): per OOD set the memory is empty
at the start, ID and OOD pictures come mixed, and each is seen once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.datasets.benchmark import OOD_LABEL, Benchmark, BenchmarkSet, Group
from ants_engine.datasets.draw import Draw, draw, sizes
from ants_engine.errors import ANTSError, ImageError, UsageError
from ants_engine.evaluation.method import EvaluationStream, Method, MethodFacts, MethodResult
from ants_engine.learning.answers import FATAL
from ants_engine.method.metrics import FprConvention, Metrics, measure, require_metrics


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Every OOD set is run once per seed and prevalence, with a method that starts anew."""

    seeds: tuple[int, ...] = (0,)
    """Each gives the pictures another order and, with a prevalence, draws other ones."""
    prevalences: tuple[float | None, ...] = (None,)
    """Shares of OOD pictures in a stream, each in (0, 1); ``None`` takes all pictures as they are."""
    share: float = 1.0
    """Share of every set's pictures, in (0, 1], that the benchmark is cut down to: the same ones at every seed."""
    batch_size: int = 256
    """Pictures that a method scores together; test-time methods depend on it."""
    conventions: tuple[FprConvention, ...] = ("openood",)
    """Which FPR95 is reported."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is outside its range, or there is no seed, prevalence or convention.
        """
        for prevalence in self.prevalences:
            if prevalence is not None and not 0.0 < prevalence < 1.0:
                raise UsageError(f"a prevalence is a share of OOD pictures above 0 and below 1, not {prevalence}")
        if not 0.0 < self.share <= 1.0:
            raise UsageError(f"share must be above 0 and at most 1, not {self.share}")
        if self.batch_size < 1:
            raise UsageError(f"batch size must be at least 1, not {self.batch_size}")
        for what, values in (
            ("seed", self.seeds), ("prevalence", self.prevalences), ("convention", self.conventions)
        ):  # fmt: skip
            if not values or len(set(values)) != len(values):
                raise UsageError(f"at least one {what} is needed, and each once; given: {list(values)}")


# ---- one pass --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PassKey:
    """Which pass."""

    method: str
    ood_set: str
    seed: int
    prevalence: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PassScores:
    """What a score file holds, unreadable pictures included, in the stream's order."""

    pred: NDArray[np.int64]
    """(N,): predicted ID class; -1 for an unreadable picture."""
    conf: NDArray[np.float64]
    """(N,): higher means more ID; an unreadable picture lies 1 below the lowest of the others."""
    label: NDArray[np.int64]
    """(N,): the ID class, -1 for OOD, -2 for an ID picture whose class nobody says."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """Numbers of one pass, or why there are none."""

    key: PassKey
    group: Group
    ids: int
    """ID pictures in the stream, unreadable ones included."""
    oods: int
    """OOD pictures, unreadable ones included."""
    unreadable_ids: int
    unreadable_oods: int
    facts: MethodFacts
    degraded: bool
    """Too many requests failed: the numbers are not the method's."""
    seconds: float
    metrics: Mapping[FprConvention, Metrics] | None = None
    error: str | None = None
    """Why there are no metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values; metrics in percent, unrounded."""
        facts = self.facts
        return {
            "method": self.key.method,
            "ood_set": self.key.ood_set,
            "group": self.group,
            "seed": self.key.seed,
            "prevalence": self.key.prevalence,
            "id_pictures": self.ids,
            "ood_pictures": self.oods,
            "actual_prevalence": self.oods / (self.ids + self.oods),
            "unreadable_id_pictures": self.unreadable_ids,
            "unreadable_ood_pictures": self.unreadable_oods,
            "metrics": None
            if self.metrics is None
            else {convention: one.percent(None) for convention, one in self.metrics.items()},
            "error": self.error,
            "degraded": self.degraded,
            "asked": facts.asked,
            "from_store": facts.from_store,
            "failed": facts.failed,
            "prompt_tokens": facts.prompt_tokens,
            "completion_tokens": facts.completion_tokens,
            "same_run_as": facts.same_run_as,
            "notes": list(facts.notes),
            **dict(facts.more),
            "seconds": round(self.seconds, 3),
        }


# ---- running the passes ----------------------------------------------------------------------------------------------


OnPass = Callable[[PassResult, PassScores | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Mixed:
    """A drawn stream: what a method gets, and which rows of the whole it is."""

    stream: EvaluationStream
    labels: NDArray[np.int64]
    """(N,) of all pictures, unreadable ones included."""
    readable: NDArray[np.bool_]
    """(N,)"""


async def run_passes(
    benchmark: Benchmark,
    methods: Sequence[Method],
    plan: EvaluationPlan,
    *,
    min_success: float = 0.8,
    on_pass: OnPass | None = None,
) -> list[PassResult]:
    """Run every method on every stream.

    An error of a method costs that pass and no other; after one that would meet every question (a key that is refused,
    a store that cannot be used), that method is not run again. An unreadable picture never reaches a method; it keeps
    its row as one that never passes as known: ``conf`` below all others and ``pred`` -1, so that an unreadable ID
    picture is a false alarm and a wrong prediction, and an unreadable OOD picture is caught.

    Args:
        benchmark: with features.
        methods: of different names.
        plan: the protocol.
        min_success: with a larger share of failed requests than 1 - this, a pass is marked as degraded.
        on_pass: called after every pass with its scores.

    Raises:
        UsageError: two methods of one name, a prevalence that leaves no picture, or all pictures of a side are
            unreadable.
        MissingDependencyError: scikit-learn is not installed.
    """
    names = [method.name for method in methods]
    if len(set(names)) != len(names) or not names:
        raise UsageError(f"at least one method is needed, and each once; given: {', '.join(names) or 'none'}")
    require_metrics()
    check_sizes(benchmark, plan)
    results: list[PassResult] = []
    given_up: dict[str, str] = {}
    for prevalence in plan.prevalences:
        for one in benchmark.ood_sets:
            for seed in plan.seeds:
                drawn = draw(benchmark.id_set, one, seed, prevalence, plan.share)
                mixed = _mix(benchmark.id_set, one, drawn, seed, prevalence, plan.batch_size)
                for method in methods:
                    result, scores = await _pass(method, one, mixed, drawn, plan, min_success, given_up)
                    results.append(result)
                    if on_pass is not None:
                        on_pass(result, scores)
    return results


def check_sizes(benchmark: Benchmark, plan: EvaluationPlan) -> None:
    """See that every stream can be drawn: that must not come up after hours of scoring.

    Raises:
        UsageError: a prevalence leaves no picture on one side.
    """
    for one in benchmark.ood_sets:
        for prevalence in plan.prevalences:
            sizes(benchmark.id_set, one, prevalence, plan.share)


async def _pass(
    method: Method,
    one: BenchmarkSet,
    mixed: _Mixed,
    drawn: Draw,
    plan: EvaluationPlan,
    min_success: float,
    given_up: dict[str, str],
) -> tuple[PassResult, PassScores | None]:
    started = time.monotonic()
    facts, scores, metrics, error = MethodFacts(), None, None, given_up.get(method.name)
    if error is None:
        try:
            found = await method.run(mixed.stream)
        except ANTSError as caught:
            error = f"{type(caught).__name__}: {caught}"
            if isinstance(caught, FATAL):
                given_up[method.name] = f"not run again after {error}"
        else:
            facts = found.facts
            error = _defect(found, len(mixed.stream))
            scores = None if error else _whole(found, mixed)
            metrics = None if scores is None else _measure(scores, plan.conventions)
    unreadable = mixed.labels[~mixed.readable]
    result = PassResult(
        key=PassKey(method.name, one.name, mixed.stream.seed, mixed.stream.prevalence),
        group=one.group or "other",
        ids=drawn.ids,
        oods=drawn.oods,
        unreadable_ids=int((unreadable != OOD_LABEL).sum()),
        unreadable_oods=int((unreadable == OOD_LABEL).sum()),
        facts=facts,
        degraded=facts.degraded(min_success),
        seconds=time.monotonic() - started,
        metrics=metrics,
        error=error,
    )
    return result, scores


def _mix(
    id_set: BenchmarkSet, ood_set: BenchmarkSet, drawn: Draw, seed: int, prevalence: float | None, batch_size: int
) -> _Mixed:
    if id_set.features is None or ood_set.features is None:
        raise ValueError("the benchmark has no features yet: see encode_pictures")
    sides = [ood_set if is_ood else id_set for is_ood in drawn.is_ood.tolist()]
    rows = drawn.rows.tolist()
    labels = np.array([side.labels[row] for side, row in zip(sides, rows, strict=True)], dtype=np.int64)
    readable = np.array([row not in side.failures for side, row in zip(sides, rows, strict=True)], dtype=np.bool_)
    for what, mask in (("ID", labels != OOD_LABEL), (ood_set.name, labels == OOD_LABEL)):
        if not readable[mask].any():
            raise UsageError(f"none of the {int(mask.sum())} {what} pictures can be read")
    # one table for both sides, so that rows are taken in one step
    table = torch.cat([id_set.features, ood_set.features])
    index = torch.from_numpy(drawn.rows + np.where(drawn.is_ood, len(id_set), 0))[torch.from_numpy(readable)]
    images = None
    if id_set.images is not None and ood_set.images is not None:
        whole = (*id_set.images, *ood_set.images)
        images = [whole[row] for row in index.tolist()]
    stream = EvaluationStream(
        features=table[index],
        images=images,
        labels=labels[readable],
        set_name=ood_set.name,
        seed=seed,
        prevalence=prevalence,
        batch_size=batch_size,
    )
    return _Mixed(stream, labels, readable)


def _defect(found: MethodResult, rows: int) -> str | None:
    """Say what is wrong with a method's scores."""
    if found.predicted.shape != (rows,) or found.id_score.shape != (rows,):
        shapes = f"{found.predicted.shape} predictions and {found.id_score.shape} scores"
        return f"a defect of the method: {shapes} for {rows} pictures"
    bad = int((~np.isfinite(found.id_score)).sum())
    return f"{bad} of {rows} scores are NaN or infinite" if bad else None


def _whole(found: MethodResult, mixed: _Mixed) -> PassScores:
    """Give the unreadable pictures their rows."""
    scores = found.id_score.astype(np.float64)
    pred = np.full(len(mixed.labels), -1, dtype=np.int64)
    conf = np.full(len(mixed.labels), scores.min() - 1.0)
    pred[mixed.readable] = found.predicted
    conf[mixed.readable] = scores
    return PassScores(pred, conf, mixed.labels)


def _measure(scores: PassScores, conventions: Sequence[FprConvention]) -> dict[FprConvention, Metrics]:
    is_id = scores.label != OOD_LABEL
    labelled = bool((scores.label[is_id] >= 0).all())
    return {
        convention: measure(
            scores.conf[is_id],
            scores.conf[~is_id],
            convention=convention,
            id_predicted=scores.pred[is_id] if labelled else None,
            id_labels=scores.label[is_id] if labelled else None,
        )
        for convention in conventions
    }


def unreadable_pictures(benchmark: Benchmark) -> list[tuple[str, ImageError]]:
    """Return every picture that cannot be used, with the set that it is of."""
    return [(one.name, error) for one in benchmark.sets for _, error in sorted(one.failures.items())]
