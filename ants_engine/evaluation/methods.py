"""The methods under evaluation: ANTS adapting or frozen, the baselines, and all of them by name."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.ants import ANTS
from ants_engine.baselines import registry
from ants_engine.baselines.baseline import Baseline, TextSpace
from ants_engine.baselines.eoe_labels import outlier_labels
from ants_engine.clip.encoding import Encoder
from ants_engine.clip.worker import ClipWorker
from ants_engine.datasets.benchmark import Benchmark
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import ANTSError, UsageError
from ants_engine.evaluation.method import (
    COLUMNS,
    EOE,
    FROZEN,
    EvaluationStream,
    Method,
    MethodFacts,
    MethodResult,
    check_names,
    counts_of,
    method_names,
    missing_parts,
)
from ants_engine.learning.report import BuildReport
from ants_engine.method.weighting import union_score
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings


class AntsRun:
    """The adaptive stream; run once per stream, whichever columns are requested."""

    def __init__(self, ants: ANTS) -> None:
        """Wrap a detector; it is reset before every stream."""
        self._ants = ants
        self._stream: EvaluationStream | None = None
        self._done: tuple[dict[str, Any], MethodFacts] | ANTSError | None = None
        self._first = ""

    async def column(self, name: str, stream: EvaluationStream) -> MethodResult:
        """Return one column of a stream's run.

        Raises:
            ANTSError: the run cannot be finished.
        """
        if self._stream is not stream or self._done is None:
            self._stream, self._done, self._first = stream, None, name
            try:
                self._done = await self._run(stream)
            except ANTSError as error:
                # kept, so that a dead server is not waited for once per column
                self._done = error
        if isinstance(self._done, ANTSError):
            raise self._done
        table, facts = self._done
        if name != self._first:
            facts = replace(facts, same_run_as=self._first)
        return MethodResult(table["predicted"], table[COLUMNS[name]], facts)

    async def _run(self, stream: EvaluationStream) -> tuple[dict[str, Any], MethodFacts]:
        self._ants.reset()
        parts: list[Scores] = []
        given = self._ants.stream(stream.images, features=stream.features, batch_size=stream.batch_size)
        async with given:
            async for scores in given:
                parts.append(scores)  # noqa: PERF401 - there is no asynchronous extend
        names = ("predicted", "id_score", "ens_score", "vsnl_score")
        table = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        table["union_score"] = np.concatenate([_union(part) for part in parts])
        return table, facts_of(given.report, self._ants.weight)


class AntsMethod:
    """One column of an `AntsRun`."""

    def __init__(self, run: AntsRun, name: str) -> None:
        """Choose the column.

        Args:
            run: shared with the other columns.
            name: a key of `COLUMNS`.
        """
        self._run = run
        self._name = name

    @property
    def name(self) -> str:
        """Return the column's name."""
        return self._name

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Score a stream; see `Method.run`."""
        return await self._run.column(self._name, stream)


class FrozenAntsMethod:
    """A detector built on all pictures of the stream, which then scores them without further adaptation."""

    name = FROZEN

    def __init__(self, classes: tuple[str, ...], settings: Settings, encoder: Encoder) -> None:
        """Keep the arguments of the build.

        Args:
            classes: the ID classes.
            settings: of every build.
            encoder: a loaded CLIP.
        """
        self._classes = classes
        self._settings = settings
        self._encoder = encoder

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Score a stream; see `Method.run`."""
        settings = load_settings(self._settings, stream={"batch_size": stream.batch_size})
        ants = await ANTS.build(
            self._classes, stream.images, features=stream.features, config=settings, encoder=self._encoder
        )
        scores = ants.score_features(stream.features)
        return MethodResult(scores.predicted, scores.id_score, facts_of(ants.report, ants.weight))


def _union(scores: Scores) -> NDArray[np.float32]:
    """Return the score of ``scoring.in_score="union"`` for a batch scored with any setting."""
    now = scores.adaptation
    if now is None or not now.ens_texts or not now.vsnl_texts:
        # an empty bank has no mass; its column holds the initial score
        return scores.ens_score if now is not None and now.ens_texts else scores.vsnl_score
    both = union_score(torch.from_numpy(scores.ens_score), torch.from_numpy(scores.vsnl_score))
    return np.asarray(both.numpy(), dtype=np.float32)


def facts_of(report: BuildReport, weight: float) -> MethodFacts:
    """Convert a report and lambda."""
    return MethodFacts(
        **counts_of(report),
        mllm=dict(report.model_identity),
        templates=dict(report.templates),
        notes=tuple(report.notes),
        more={"weight": weight}
        | {name: getattr(report, name) for name in ("ens_texts", "vsnl_texts", "negative_images")},
    )


# ---- baselines -------------------------------------------------------------------------------------------------------


class BaselineMethod:
    """One baseline, reset before every stream."""

    def __init__(self, baseline: Baseline) -> None:
        """Wrap it."""
        self._baseline = baseline

    @property
    def name(self) -> str:
        """Return the registry's name."""
        return self._baseline.name

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Score a stream; see `Method.run`."""
        return await asyncio.to_thread(score_stream, self._baseline, stream)


class EoeMethod:
    """EOE; the MLLM is asked for its labels once, before the first stream."""

    name = EOE

    def __init__(self, detector: Detector, settings: Settings, encoder: Encoder) -> None:
        """Prepare; no request is sent yet.

        Args:
            detector: the ID classes and the temperature.
            settings: how the MLLM is asked.
            encoder: encodes the labels.
        """
        self._detector = detector
        self._settings = settings
        self._encoder = encoder
        self._eoe = settings.eoe
        self._baseline: Baseline | None = None
        self._error: ANTSError | None = None
        self._facts = MethodFacts()

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Score a stream; see `Method.run`."""
        if self._error is not None:
            raise self._error
        again = self._baseline is not None
        if self._baseline is None:
            try:
                self._baseline = await self._ask()
            except ANTSError as error:
                # kept, so that a dead server is not waited for before every stream
                self._error = error
                raise
        found = await asyncio.to_thread(score_stream, self._baseline, stream)
        facts = replace(self._facts, same_run_as=self.name) if again else self._facts
        return MethodResult(found.predicted, found.id_score, facts)

    async def _ask(self) -> Baseline:
        classes = self._detector.classes
        async with Coordinator(self._settings) as coordinator, ClipWorker(self._encoder) as worker:
            labels = await outlier_labels(classes, self._settings, coordinator, self._encoder.fits)
            features = await worker.encode_texts(labels.prompts(classes))
            self._facts = MethodFacts(
                **counts_of(labels),
                mllm=dict(coordinator.identity),
                templates={labels.template: labels.template_sha256},
                more={"outlier_labels": len(labels.texts), "beta": self._eoe.beta, "task": self._eoe.task},
            )
        space = TextSpace.of(self._detector, features)
        return registry.create(self.name, space, beta=self._eoe.beta)


def score_stream(baseline: Baseline, stream: EvaluationStream) -> MethodResult:
    """Reset a baseline and let it score a stream batch by batch."""
    baseline.reset()
    parts = [baseline.score(batch) for batch in torch.split(stream.features, stream.batch_size)]
    predicted = torch.cat([part for part, _ in parts])
    scores = torch.cat([part for _, part in parts])
    return MethodResult(predicted.numpy(), scores.numpy())


# ---- all methods by name ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class MethodSet:
    """Methods that are ready to run."""

    methods: tuple[Method, ...]
    ants: ANTS
    """The initial detector that they share: classes, initial negatives, temperature."""
    notes: tuple[str, ...]
    """Methods that were left out, with the reason."""


async def make_methods(
    names: Sequence[str] | None,
    benchmark: Benchmark,
    settings: Settings,
    encoder: Encoder | None = None,
) -> MethodSet:
    """Make methods that share class features, initial negatives and temperature.

    Args:
        names: of `method_names`; all that this benchmark allows by default.
        benchmark: with ``space``, its text features are used and no CLIP is needed.
        settings: of ANTS and of the MLLM.
        encoder: a loaded CLIP model; may be None where the benchmark has a ``space``.

    Raises:
        UsageError: an unknown method, or a named one that cannot be run on features alone; says what is missing.
    """
    check_names(names or ())
    missing = missing_parts(benchmark)
    chosen, notes = [], []
    for name in names or method_names():
        if name not in missing:
            chosen.append(name)
        elif names:
            raise UsageError(f"{name} cannot be run on {benchmark.name}: {missing[name]}")
        else:
            notes.append(f"{name} is left out: {missing[name]}")
    ants = await _cold_start(benchmark, settings, encoder)
    space = TextSpace.of(ants.detector)
    run = AntsRun(ants)
    methods: list[Method] = []
    for name in chosen:
        if name in COLUMNS:
            methods.append(AntsMethod(run, name))
        elif name in (FROZEN, EoeMethod.name):
            if encoder is None:
                raise ValueError(f"{name} needs a CLIP")
            frozen = name == FROZEN
            methods.append(
                FrozenAntsMethod(benchmark.classes, settings, encoder)
                if frozen
                else EoeMethod(ants.detector, settings, encoder)
            )
        else:
            methods.append(BaselineMethod(registry.create(name, space)))
    return MethodSet(tuple(methods), ants, tuple(notes))


async def _cold_start(benchmark: Benchmark, settings: Settings, encoder: Encoder | None) -> ANTS:
    space = benchmark.space
    if space is None:
        return await ANTS.build(benchmark.classes, config=settings, encoder=encoder)
    negatives = space.negative_features
    return ANTS.from_features(
        benchmark.classes,
        space.class_features,
        negative_features=torch.zeros(0, space.class_features.shape[1]) if negatives is None else negatives,
        negative_texts=space.negative_texts,
        logit_scale=space.logit_scale,
        config=settings,
    )
