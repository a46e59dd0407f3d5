"""Baselines as methods under evaluation."""

import asyncio
from dataclasses import replace

import torch

from ants_engine.baselines import registry
from ants_engine.baselines.baseline import Baseline
from ants_engine.baselines.eoe_labels import outlier_labels
from ants_engine.baselines.text_space import TextSpace
from ants_engine.clip.encoding import Encoder
from ants_engine.clip.worker import ClipWorker
from ants_engine.detector.detector import Detector
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import ANTSError
from ants_engine.evaluation.method import EvaluationStream, MethodFacts, MethodResult
from ants_engine.settings.config import Settings


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
    """EOE; the MLLM is asked for its labels before the first stream, and once for all."""

    name = "eoe"

    def __init__(self, detector: Detector, settings: Settings, encoder: Encoder) -> None:
        """Prepare; nothing is asked yet.

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
                # asked again before every stream, a dead server would be waited for as often
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
                asked=labels.asked,
                from_store=labels.from_store,
                failed=labels.failed,
                prompt_tokens=labels.prompt_tokens,
                completion_tokens=labels.completion_tokens,
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
