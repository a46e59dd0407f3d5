"""The loop behind a stream: CLIP, policy, MLLM and scoring, batch by batch, in one task of its own."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.common.progress import ProgressEvent
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.scores import Adaptation, Scores
from ants_engine.learning.call_meter import CallMeter
from ants_engine.learning.engine import LearningEngine, compose
from ants_engine.learning.paper_policy import PaperPolicy
from ants_engine.learning.pictures import PictureBatch, Pictures
from ants_engine.learning.policy import Policy
from ants_engine.learning.reference_policy import ReferencePolicy
from ants_engine.learning.report import BatchRecord, StreamReport
from ants_engine.learning.run_observer import FirstLook, RunStart, ScoredBatch
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.stream_scoring import score_batch, settle
from ants_engine.learning.updates import EnsUpdate, Update, VsnlUpdate
from ants_engine.settings.config import Settings


@dataclass(frozen=True, slots=True)
class Delivered:
    """A scored batch and the state after it."""

    scores: Scores
    state: AdaptationState
    record: BatchRecord


def choose_policy(settings: Settings) -> Policy:
    """Return the policy that the settings name."""
    return PaperPolicy(settings) if settings.mining.rule == "lowest_share" else ReferencePolicy(settings)


class StreamLoop:
    """Runs a stream from a state on. It decides nothing by the clock; see ``docs/streaming.md``."""

    def __init__(self, engine: LearningEngine, report: StreamReport, state: AdaptationState, meter: CallMeter) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._report = report
        self._state = state
        self._meter = meter
        self._policy = choose_policy(engine.settings)
        self._asker = engine.asker(bounded=False, ends_run=())
        self._notes: list[str] = []

    async def run(self, pictures: Pictures, out: "asyncio.Queue[Any]") -> None:
        """Score all pictures, handing over batch by batch.

        Raises:
            FeatureError: the features do not fit this CLIP, or the pictures.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            ANTSError: the MLLM, or the store, cannot be used at all.
        """
        engine = self._engine
        # with a smaller lag than before, nothing may be due later than what is asked for from now on
        latest = self._state.batch + 1 + self._settings.stream.lag
        pending = (replace(update, due=min(update.due, latest)) for update in self._state.pending)
        self._state = replace(self._state, pending=tuple(pending))
        names = engine.classes.names
        engine.observer.began(RunStart("stream", names, pictures.total, self._settings, self._state.gamma))
        if not engine.abilities.pictures:
            self._report.notes.append("this MLLM takes no pictures: no sentence is added")
        if not engine.abilities.words:
            self._report.notes.append("this MLLM cannot be asked without a picture: no look-alike is added")
        try:
            async with asyncio.TaskGroup() as group:
                for update in self._state.pending:
                    # asked for before the state was saved, or the stream before this one broken off
                    self._asker.ask(update, group)
                batches = pictures.batches(engine.worker, self._settings, self._settings.stream.batch_size)
                async with aclosing(batches):
                    async for batch in batches:
                        await out.put(await self._step(batch, group, pictures.total))
                # leaving the group waits for answers that are due at a batch that has not come: they are paid for, and
                # in the store when it does
            engine.observer.stands(*engine.questions.standing)
        finally:
            engine.close()

    async def _step(self, batch: PictureBatch, group: asyncio.TaskGroup, total: int | None) -> Delivered:
        engine, gamma = self._engine, self._state.gamma
        look = await engine.aside(self._state.detector.look, batch.features)
        state, asked = await engine.aside(self._observe, self._state, batch, look)
        engine.observer.looked(FirstLook.of(batch, look, gamma))
        for update in asked:
            self._asker.ask(update, group)
        started = time.monotonic()
        state = await self._apply_due(state)
        waited = time.monotonic() - started
        state, columns = await engine.aside(score_batch, state, look, self._settings)
        state = replace(state, batch=state.batch + 1, pictures=state.pictures + batch.size)
        self._state = state
        self._tell(state, waited, total)
        adaptation = self._adaptation(state, asked, waited)
        scores = self._scores(state, batch, columns, adaptation)
        record = self._record(adaptation, scores)
        engine.observer.scored(ScoredBatch(scores, _by_row(batch), record))
        return Delivered(scores, state, record)

    def _observe(
        self, state: AdaptationState, batch: PictureBatch, look: EncodedBatch
    ) -> tuple[AdaptationState, list[Update]]:
        state, candidates = self._engine.observe(state, batch, look, shown=self._policy.describes(state))
        state, updates = self._policy.observe(state, look, candidates, self._engine.abilities)
        self._report.near_duplicates += sum(update.alike for update in updates if isinstance(update, EnsUpdate))
        due = state.batch + 1 + self._settings.stream.lag
        asked: list[Update] = [replace(update, due=due) for update in updates]
        return replace(state, pending=(*state.pending, *asked)), asked

    async def _apply_due(self, state: AdaptationState) -> AdaptationState:
        due = [update for update in state.pending if update.due <= state.batch + 1]
        for update in due:
            state = await self._engine.read(state, update, self._asker)
            state = await self._engine.fill(state, update, compose(self._policy, state, update))
            state = replace(state, pending=tuple(other for other in state.pending if other is not update))
        if due:
            self._note_answers()
        if due or not (len(state.detector.ens) or len(state.detector.vsnl)):
            state = await self._engine.aside(settle, state, self._settings)
        return state

    def _note_answers(self) -> None:
        """Bring counts and notes of the report up to date."""
        tallies = [tally for tally in self._engine.tallies.values() if tally.asked]
        self._report.tasks.update({tally.task: (tally.asked, tally.useless) for tally in tallies})
        before, self._notes = self._notes, [note for tally in tallies for note in tally.notes()]
        self._report.notes[:] = [note for note in self._report.notes if note not in before] + self._notes

    def _scores(
        self, state: AdaptationState, batch: PictureBatch, columns: dict[str, Tensor], adaptation: Adaptation
    ) -> Scores:
        """Give every picture of the batch its row, the unreadable ones too."""
        names, failures = [""] * batch.size, {}
        for row, name in zip(batch.rows, batch.names, strict=True):
            names[row] = name
        read = set(batch.rows)
        broken = [row for row in range(batch.size) if row not in read]
        for row, failure in zip(broken, batch.failures, strict=True):
            names[row], failures[row] = failure.name, failure
        whole = {}
        for key, column in columns.items():
            whole[key] = torch.zeros(batch.size, dtype=column.dtype)
            whole[key][batch.rows] = column
        return replace(state.detector.scores_of(whole, names, failures), adaptation=adaptation)

    def _adaptation(self, state: AdaptationState, asked: Sequence[Update], waited: float) -> Adaptation:
        captions = [len(update.asked) for update in asked if isinstance(update, EnsUpdate)]
        similar = [len(update.asked) for update in asked if isinstance(update, VsnlUpdate)]
        return Adaptation(
            batch=state.batch,
            pictures=state.pictures,
            gamma=state.gamma,
            weight=state.detector.weight,
            threshold=state.detector.threshold,
            ens_updates=state.ens_updates,
            captions_asked=sum(captions) if captions else None,
            look_alikes_asked=sum(similar) if similar else None,
            ens_texts=len(state.detector.ens),
            vsnl_texts=len(state.detector.vsnl),
            pending=len(state.pending),
            waited=waited,
        )

    def _record(self, now: Adaptation, scores: Scores) -> BatchRecord:
        calls = self._meter.read()
        return BatchRecord(
            batch=now.batch,
            pictures=len(scores),
            foreign=int(scores.is_outlier.sum()),
            threshold=now.threshold,
            weight=now.weight,
            gamma=now.gamma,
            ens_texts=now.ens_texts,
            vsnl_texts=now.vsnl_texts,
            captions_asked=now.captions_asked or 0,
            look_alikes_asked=now.look_alikes_asked or 0,
            waited=now.waited,
            calls=calls.count,
            latency=calls.median,
            latency_most=calls.most,
            concurrency=calls.concurrency,
            run=self._report.run,
        )

    def _tell(self, state: AdaptationState, waited: float, total: int | None) -> None:
        report = self._report
        report.pictures = state.looked
        report.candidates = len(state.candidates)
        report.gamma_star = state.gamma
        report.cost = self._engine.questions.spent.cost
        # of the state, not of this stream's updates alone: a stream may go on from an earlier one
        report.ens_texts, report.vsnl_texts = len(state.detector.ens), len(state.detector.vsnl)
        report.similar_classes = tuple(state.detector.classes.names[index] for index in state.held)
        report.seconds["waiting for the MLLM"] = report.seconds.get("waiting for the MLLM", 0.0) + waited
        self._engine.progress(ProgressEvent("pictures", state.pictures, total))


def _by_row(batch: PictureBatch) -> tuple[ImageRef | None, ...]:
    """Return where the pictures are, a place for every row of the batch."""
    refs: list[ImageRef | None] = [None] * batch.size
    for row, ref in zip(batch.rows, batch.refs, strict=True):
        refs[row] = ref
    return tuple(refs)
