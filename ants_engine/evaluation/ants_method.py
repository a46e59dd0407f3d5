"""ANTS as methods under evaluation: adapting as it goes, and built once and frozen."""

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.ants import ANTS
from ants_engine.clip.encoding import Encoder
from ants_engine.detector.scores import Scores
from ants_engine.errors import ANTSError
from ants_engine.evaluation.method import EvaluationStream, MethodFacts, MethodResult
from ants_engine.learning.report import BuildReport
from ants_engine.method.weighting import union_score
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings

Column: TypeAlias = Literal["id_score", "ens_score", "vsnl_score", "union_score"]

COLUMNS: dict[str, Column] = {
    "ants": "id_score", "ants-ens": "ens_score", "ants-vsnl": "vsnl_score", "ants-union": "union_score"
}  # fmt: skip
"""Methods that are columns of one run: the score of the settings, each bank alone, and both in one softmax."""
FROZEN = "ants-frozen"


class AntsRun:
    """The adaptive stream. Run once per stream, however many of its columns are asked for."""

    def __init__(self, ants: ANTS) -> None:
        """Wrap a detector, which is reset before every stream."""
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
                # run again for every column, a dead server would be waited for as often
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
    """A detector built on all pictures of the stream, which then scores them without adapting any more."""

    name = FROZEN

    def __init__(self, classes: tuple[str, ...], settings: Settings, encoder: Encoder) -> None:
        """Keep what a detector is built with.

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
    """Return the score of ``scoring.in_score="union"`` for a batch that may have been scored by another one."""
    now = scores.adaptation
    if now is None or not now.ens_texts or not now.vsnl_texts:
        # an empty bank has no mass, and its column holds the initial score
        return scores.ens_score if now is not None and now.ens_texts else scores.vsnl_score
    both = union_score(torch.from_numpy(scores.ens_score), torch.from_numpy(scores.vsnl_score))
    return np.asarray(both.numpy(), dtype=np.float32)


def facts_of(report: BuildReport, weight: float) -> MethodFacts:
    """Take what a report says, and lambda."""
    return MethodFacts(
        asked=report.asked,
        from_store=report.from_store,
        failed=report.failed,
        prompt_tokens=report.prompt_tokens,
        completion_tokens=report.completion_tokens,
        mllm=dict(report.model_identity),
        templates=dict(report.templates),
        notes=tuple(report.notes),
        more={
            "weight": weight,
            "ens_texts": report.ens_texts,
            "vsnl_texts": report.vsnl_texts,
            "negative_images": report.negative_images,
        },
    )
