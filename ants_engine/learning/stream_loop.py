"""The loop behind a stream: CLIP, policy, MLLM and scoring, batch by batch, in one task of its own."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef, Spool
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.detector.scores import Adaptation, Scores
from ants_engine.dispatch.request import Outcome
from ants_engine.errors import ImageError, NotEnoughAnswersError, TransientBackendError
from ants_engine.learning.answers import FATAL, Tally, sort_answers
from ants_engine.learning.call_meter import CallMeter
from ants_engine.learning.candidates import Candidate, Caption
from ants_engine.learning.negative_texts import UNUSABLE, read_labels, read_sentence, set_text_aside
from ants_engine.learning.paper_policy import PaperPolicy
from ants_engine.learning.pictures import PictureBatch, Pictures, keep_pictures
from ants_engine.learning.policy import Abilities, Composition, Policy, count_classes
from ants_engine.learning.questions import Questions
from ants_engine.learning.reference_policy import ReferencePolicy
from ants_engine.learning.report import BatchRecord, SetAside, StreamReport
from ants_engine.learning.run_observer import AnsweredQuestion, FirstLook, RunObserver, RunStart, ScoredBatch
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.stream_scoring import rebalance, remember, score_batch
from ants_engine.learning.updates import EnsUpdate, Update, VsnlUpdate
from ants_engine.method.answer import Rejection
from ants_engine.method.class_names import ClassNames
from ants_engine.protocol import Answer
from ants_engine.settings.config import Settings

T = TypeVar("T")
Question = asyncio.Task[Outcome | ImageError]


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

    def __init__(
        self,
        state: AdaptationState,
        settings: Settings,
        worker: ClipWorker,
        questions: Questions,
        report: StreamReport,
        progress: ProgressCallback,
        spool: Spool,
        meter: CallMeter,
        observer: RunObserver,
        tallies: Mapping[str, Tally],
    ) -> None:
        self._state = state
        self._settings = settings
        self._worker = worker
        self._questions = questions
        self._report = report
        self._progress = progress
        self._spool = spool
        self._meter = meter
        self._observer = observer
        self._tallies = tallies
        self._notes: dict[str, list[str]] = {}
        self._policy = choose_policy(settings)
        self._abilities = Abilities(questions.can_show_pictures, questions.can_ask_in_words)
        self._names = ClassNames(state.detector.classes.names)
        self._questions_of: dict[Update, list[Question]] = {}
        self._done = {"captions": 0, "look-alikes": 0}
        # one thread for all arithmetic: each further one would keep scratch memory, and workers of torch, of its own
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ants-pump")

    async def run(self, pictures: Pictures, out: "asyncio.Queue[Any]") -> None:
        """Score all pictures, handing over batch by batch.

        Raises:
            FeatureError: the features do not fit this CLIP, or the pictures.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            ANTSError: the MLLM, or the store, cannot be used at all.
        """
        # with a smaller lag than before, nothing may be due later than what is asked for from now on
        latest = self._state.batch + 1 + self._settings.stream.lag
        pending = (replace(update, due=min(update.due, latest)) for update in self._state.pending)
        self._state = replace(self._state, pending=tuple(pending))
        self._questions.on_heartbeat(self._beat)
        names = self._state.detector.classes.names
        self._observer.began(RunStart("stream", names, pictures.total, self._settings, self._state.gamma))
        if not self._abilities.pictures:
            self._report.notes.append("this MLLM takes no pictures: no sentence is added")
        if not self._abilities.words:
            self._report.notes.append("this MLLM cannot be asked without a picture: no look-alike is added")
        try:
            async with asyncio.TaskGroup() as group:
                for update in self._state.pending:
                    # asked for before the state was saved, or the stream before this one broken off
                    self._ask(update, group)
                batches = pictures.batches(self._worker, self._settings, self._settings.stream.batch_size)
                async with aclosing(batches):
                    async for batch in batches:
                        await out.put(await self._step(batch, group, pictures.total))
                # leaving the group waits for answers that are due at a batch that has not come: they are paid for, and
                # in the store when it does
            self._observer.stands(*self._questions.standing)
        finally:
            # a batch that was given up may still be under way
            self._thread.shutdown(wait=False)

    async def _aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))

    async def _step(self, batch: PictureBatch, group: asyncio.TaskGroup, total: int | None) -> Delivered:
        for failure in batch.failures:
            self._report.put_aside(SetAside("picture", failure.name, str(failure)))
        look = await self._aside(self._state.detector.look, batch.features)
        gamma = self._state.gamma
        state, asked = await self._aside(self._observe, self._state, batch, look)
        self._observer.looked(FirstLook.of(batch, look, gamma))
        for update in asked:
            self._ask(update, group)
        started = time.monotonic()
        state = await self._apply_due(state)
        waited = time.monotonic() - started
        state, columns = await self._aside(score_batch, state, look, self._settings)
        state = replace(state, batch=state.batch + 1, pictures=state.pictures + batch.size)
        self._state = state
        self._tell(state, waited, total)
        adaptation = self._adaptation(state, asked, waited)
        scores = self._scores(state, batch, columns, adaptation)
        record = self._record(adaptation, scores)
        self._observer.scored(ScoredBatch(scores, _by_row(batch), record))
        return Delivered(scores, state, record)

    def _observe(
        self, state: AdaptationState, batch: PictureBatch, look: EncodedBatch
    ) -> tuple[AdaptationState, list[Update]]:
        low = look.initial.double() < state.gamma
        shown = torch.nonzero(low).flatten().tolist() if self._policy.describes(state) else []
        for error in keep_pictures(batch, shown, self._spool, self._settings):
            self._report.put_aside(SetAside("picture", error.name, str(error)))
        candidates = [
            Candidate(state.pictures + row, name, predicted, ref) if is_low else None
            for row, name, predicted, ref, is_low in zip(
                batch.rows, batch.names, look.predicted.tolist(), batch.refs, low.tolist(), strict=True
            )
        ]
        counted = remember(count_classes(state, look), look)
        state, updates = self._policy.observe(counted, look, candidates, self._abilities)
        self._report.near_duplicates += sum(update.alike for update in updates if isinstance(update, EnsUpdate))
        due = state.batch + 1 + self._settings.stream.lag
        asked: list[Update] = [replace(update, due=due) for update in updates]
        return replace(state, pending=(*state.pending, *asked)), asked

    def _ask(self, update: Update, group: asyncio.TaskGroup) -> None:
        if isinstance(update, EnsUpdate):
            self._questions_of[update] = [group.create_task(self._caption(item)) for item in update.asked]
        else:
            self._questions_of[update] = [group.create_task(self._look_alikes(index)) for index in update.asked]

    async def _caption(self, item: Candidate) -> Outcome | ImageError:
        if item.ref is None:
            return ImageError(item.name, "cannot be shown: only its features were kept")
        class_name = self._state.detector.classes.names[item.predicted]
        outcome: Outcome | ImageError
        try:
            outcome = await self._questions.describe(item.ref, class_name)
        except ImageError as error:
            # the file was there when CLIP read it; the picture keeps its place
            outcome = error
        self._observer.answered(AnsweredQuestion("ens", item.name, class_name, item.ref, outcome))
        if isinstance(outcome, Outcome):
            self._answered("captions")
        return outcome

    async def _look_alikes(self, index: int) -> Outcome | ImageError:
        name = self._state.detector.classes.names[index]
        outcome = await self._questions.look_alikes(name)
        self._observer.answered(AnsweredQuestion("vsnl", name, name, None, outcome))
        self._answered("look-alikes")
        return outcome

    def _answered(self, stage: str) -> None:
        self._done[stage] += 1
        self._progress(ProgressEvent(stage, self._done[stage], None, self._questions.in_words()))

    def _beat(self) -> None:
        # A bar that only moves with answers cannot tell waiting from stuck.
        self._observer.stands(*self._questions.standing)
        stage = "captions" if self._done["captions"] else "look-alikes"
        self._progress(ProgressEvent(stage, self._done[stage], None, self._questions.in_words()))

    async def _apply_due(self, state: AdaptationState) -> AdaptationState:
        due = [update for update in state.pending if update.due <= state.batch + 1]
        for update in due:
            state = await (self._ens(state, update) if isinstance(update, EnsUpdate) else self._vsnl(state, update))
            state = replace(state, pending=tuple(other for other in state.pending if other is not update))
        if due or not (len(state.detector.ens) or len(state.detector.vsnl)):
            state = await self._aside(rebalance, state, self._settings)
        return state

    async def _ens(self, state: AdaptationState, update: EnsUpdate) -> AdaptationState:
        questions = self._questions_of.pop(update)
        ended = [(item, await question) for item, question in zip(update.asked, questions, strict=True)]
        features = dict(zip(update.members, update.features, strict=True))
        state = await self._aside(self._read_captions, state, ended, features)
        bank = await self._bank(state.detector.ens, self._policy.sentences(state, update), "{}")
        self._report.negative_images = len(update.members)
        detector = replace(state.detector, ens=bank, activation=None)
        return replace(state, detector=detector, negatives=update.features)

    async def _vsnl(self, state: AdaptationState, update: VsnlUpdate) -> AdaptationState:
        questions = self._questions_of.pop(update)
        ended = [(index, await question) for index, question in zip(update.asked, questions, strict=True)]
        state = self._read_similar(state, ended)
        composition = self._policy.look_alikes(state, update)
        bank = await self._bank(state.detector.vsnl, composition, state.detector.classes.template)
        return replace(state, detector=replace(state.detector, vsnl=bank))

    def _read_captions(
        self,
        state: AdaptationState,
        ended: Sequence[tuple[Candidate, Outcome | ImageError]],
        features: Mapping[int, Tensor],
    ) -> AdaptationState:
        captions = dict(state.captions)
        names = state.detector.classes.names
        tally = self._tallies["ens"]
        for item, outcome in ended:
            raw = self._raw(item.name, outcome, tally)
            text: str | None = None
            if raw is not None:
                tally.hear(raw, names[item.predicted], features.get(item.id))
                read = read_sentence(raw.text, self._names, self._settings.ens, self._worker.encoder.fits)
                text = self._unless_rejected(raw.text, read)
                if isinstance(read, Rejection) and read in UNUSABLE:
                    tally.reject(read)
            tally.bare += text is None
            captions[item.id] = Caption(text, item.name)
        self._told(tally)
        described = state.candidates.described(item.id for item, _ in ended)
        return replace(state, captions=captions, candidates=described)

    def _read_similar(
        self, state: AdaptationState, ended: Sequence[tuple[int, Outcome | ImageError]]
    ) -> AdaptationState:
        labels = dict(state.labels)
        tally = self._tallies["vsnl"]
        for index, outcome in ended:
            name = state.detector.classes.names[index]
            raw = self._raw(name, outcome, tally)
            labels[index] = ()
            if raw is not None:
                tally.hear(raw, name)
                found = read_labels(raw.text, name, self._names, self._settings.vsnl)
                rejected = found.rejected or ([(raw.text, found.rejection)] if found.rejection is not None else [])
                for text, reason in rejected:
                    self._report.put_aside(set_text_aside(text, reason))
                labels[index] = found.labels
                if found.rejection is not None and found.rejection in UNUSABLE:
                    tally.reject(found.rejection)
            tally.bare += not labels[index]
            if isinstance(outcome, Outcome) and isinstance(
                outcome.error, TransientBackendError | NotEnoughAnswersError
            ):
                # the MLLM was away, or not asked any more: that says nothing of the class
                del labels[index]
        self._told(tally)
        return replace(state, labels=labels)

    def _raw(self, name: str, outcome: Outcome | ImageError, tally: Tally) -> Answer | None:
        if isinstance(outcome, Outcome) and isinstance(outcome.error, FATAL):
            raise outcome.error
        _, failed = sort_answers([(name, outcome)], self._report)
        tally.asked += 1
        for error in failed:
            tally.fail(error)
        return outcome.answer if isinstance(outcome, Outcome) else None

    def _told(self, tally: Tally) -> None:
        """Bring counts and notes of the report up to date."""
        self._report.tasks[tally.task] = (tally.asked, tally.useless)
        before = self._notes.get(tally.task, [])
        self._notes[tally.task] = tally.notes()
        self._report.notes[:] = [note for note in self._report.notes if note not in before] + self._notes[tally.task]

    def _unless_rejected(self, raw: str, read: str | Rejection) -> str | None:
        if not isinstance(read, Rejection):
            return read
        self._report.put_aside(set_text_aside(raw, read))
        return None

    async def _bank(self, old: NegativeBank, composition: Composition, template: str) -> NegativeBank:
        """Make a bank; only texts that the old one does not hold are encoded."""
        new = [row for row, known in enumerate(composition.rows) if known is None]
        encoded = await self._worker.encode_texts([template.replace("{}", composition.texts[row]) for row in new])
        features = torch.empty(len(composition.texts), old.features.shape[1])
        kept = [row for row, known in enumerate(composition.rows) if known is not None]
        features[kept] = old.features[[row for row in composition.rows if row is not None]]
        features[new] = encoded
        return NegativeBank(old.kind, composition.texts, composition.sources, features)

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
        report.cost = self._questions.spent.cost
        # of the state, not of this stream's updates alone: a stream may go on from an earlier one
        report.ens_texts, report.vsnl_texts = len(state.detector.ens), len(state.detector.vsnl)
        report.similar_classes = tuple(state.detector.classes.names[index] for index in state.held)
        report.seconds["waiting for the MLLM"] = report.seconds.get("waiting for the MLLM", 0.0) + waited
        self._progress(ProgressEvent("pictures", state.pictures, total))


def _by_row(batch: PictureBatch) -> tuple[ImageRef | None, ...]:
    """Return where the pictures are, a place for every row of the batch."""
    refs: list[ImageRef | None] = [None] * batch.size
    for row, ref in zip(batch.rows, batch.refs, strict=True):
        refs[row] = ref
    return tuple(refs)
