"""Running methods over a benchmark: one pass per OOD set, seed and prevalence, each from the initial state.

Source of the protocol: OpenOOD v1.5 (arXiv 2306.09301) and ANTS (arXiv 2509.03951): per OOD set the memory is empty
at the start, ID and OOD pictures come mixed, and each is seen once.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import ClipWorker
from ants_engine.datasets.benchmark import OOD_LABEL, Benchmark, BenchmarkSet
from ants_engine.datasets.draw import Draw, draw
from ants_engine.errors import ANTSError, ImageError, UsageError
from ants_engine.evaluation.method import (
    EvaluationPlan,
    EvaluationStream,
    Method,
    MethodFacts,
    MethodResult,
    PassKey,
    PassResult,
    PassScores,
    check_sizes,
)
from ants_engine.learning.answers import FATAL
from ants_engine.method.metrics import FprConvention, Metrics, measure, require_metrics
from ants_engine.settings.config import Settings

OnPass = Callable[[PassResult, PassScores | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Mixed:
    """A drawn stream: the input of methods, and the rows that are readable."""

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

    A method's error ends that pass only; after a permanent one (a rejected key, an unusable store) the method is not
    run again. Unreadable pictures are not given to methods; they keep their rows with ``conf`` below all others and
    ``pred`` -1, so that an unreadable ID picture is a false alarm and a wrong prediction, and an unreadable OOD picture
    counts as detected.

    Args:
        benchmark: with features.
        methods: of different names.
        plan: the protocol.
        min_success: a pass with a smaller share of answered requests is marked as degraded.
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
    """Describe what is wrong with a method's scores; None for valid ones."""
    if found.predicted.shape != (rows,) or found.id_score.shape != (rows,):
        shapes = f"{found.predicted.shape} predictions and {found.id_score.shape} scores"
        return f"a defect of the method: {shapes} for {rows} pictures"
    bad = int((~np.isfinite(found.id_score)).sum())
    return f"{bad} of {rows} scores are NaN or infinite" if bad else None


def _whole(found: MethodResult, mixed: _Mixed) -> PassScores:
    """Insert the rows of unreadable pictures."""
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
    """Return the set and error of every unusable picture."""
    return [(one.name, error) for one in benchmark.sets for _, error in sorted(one.failures.items())]


# ---- features of the pictures -------------------------------------------------------------------------------------


async def encode_pictures(
    benchmark: Benchmark,
    encoder: ClipEncoder,
    settings: Settings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Return the benchmark with features; each distinct picture is encoded once.

    Sets are encoded one after the other, the ID set first, in list order, in batches of ``clip.batch_size``: the
    batches, and with them a feature's last bits, do not depend on seed or prevalence. An unusable picture gets an entry
    in its set's ``failures`` and keeps its row.

    Args:
        benchmark: sets that have features already are left unchanged.
        encoder: a loaded CLIP model.
        settings: ``clip.batch_size``, ``clip.feature_store`` and ``pictures`` are used, with ``on_error`` "skip".
        on_progress: called with the number of pictures done and in total.

    Raises:
        FeatureError: the model gave a number that is not finite.
    """
    limits = settings.pictures.model_copy(update={"on_error": "skip"})
    known: dict[object, torch.Tensor | ImageError] = {}
    waiting = [one for one in benchmark.sets if one.features is None]
    total = sum(len(one) for one in waiting)
    before = 0
    encoded: dict[str, BenchmarkSet] = {}
    async with ClipWorker(encoder) as worker:
        for one in waiting:
            if one.images is None:
                raise ValueError(f"{one.name}: neither images nor features")
            new = {_key(image): image for image in one.images if _key(image) not in known}
            keys, done = list(new), before + len(one) - len(new)
            if new:
                stream = open_images(list(new.values()))
                clip = settings.clip
                async for batch in worker.image_batches(
                    stream, clip.batch_size, limits, feature_store=clip.feature_store
                ):
                    for ref, feature in zip(batch.refs, batch.features, strict=True):
                        known[keys[ref.index]] = feature
                    for ref, error in batch.failures:
                        known[keys[ref.index]] = error
                    done += len(batch.refs) + len(batch.failures)
                    if on_progress is not None:
                        on_progress(done, total)
            before += len(one)
            encoded[one.name] = _with_features(one, known, encoder.dim)
    return replace(
        benchmark,
        id_set=encoded.get(benchmark.id_set.name, benchmark.id_set),
        ood_sets=tuple(encoded.get(one.name, one) for one in benchmark.ood_sets),
    )


def _with_features(one: BenchmarkSet, known: dict[object, torch.Tensor | ImageError], dim: int) -> BenchmarkSet:
    found = [known[_key(image)] for image in one.images or ()]
    blank = torch.zeros(dim)
    features = torch.stack([blank if isinstance(each, ImageError) else each for each in found])
    failures = {row: each for row, each in enumerate(found) if isinstance(each, ImageError)}
    return replace(one, features=features, failures=failures)


def _key(image: Any) -> object:
    """Return a key that is equal for equal pictures: the path of a file, or the object's identity."""
    return str(Path(image).absolute()) if isinstance(image, str | Path) else id(image)
