"""A stream: pictures in, scores out batch by batch, with a detector that adapts on the way."""

import asyncio
import math
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.common.progress import ProgressEvent
from ants_engine.common.task_errors import plain_errors
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.scores import Adaptation, Scores
from ants_engine.errors import UsageError
from ants_engine.learning.engine import LearningEngine, candidates_of, compose
from ants_engine.learning.pictures import PictureBatch, Pictures
from ants_engine.learning.policy import JUDGED_BY, choose_policy, sample_due
from ants_engine.learning.report import BatchRecord, CallMeter, StreamReport
from ants_engine.learning.run_observer import FirstLook, RunStart, ScoredBatch
from ants_engine.learning.scoring import score_batch
from ants_engine.learning.state import AdaptationState, EnsUpdate, JudgeUpdate, Update, VsnlUpdate
from ants_engine.method.judge import first_of


@dataclass(frozen=True, slots=True)
class Delivered:
    """A scored batch and the state after it."""

    scores: Scores
    state: AdaptationState
    record: BatchRecord
    judged: Mapping[str, Any] | None
    """See `BuildReport.judged`."""


class StreamLoop:
    """Runs a stream from a state on. It decides nothing by the clock; see ``docs/streaming.md``."""

    def __init__(self, engine: LearningEngine, state: AdaptationState, meter: CallMeter) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._report = engine.report
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
        self._report.notes += engine.notes_on_judge(features_only=pictures.features_only)
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
        return Delivered(scores, state, record, self._engine.judged)

    def _observe(
        self, state: AdaptationState, batch: PictureBatch, look: EncodedBatch
    ) -> tuple[AdaptationState, list[Update]]:
        sample = self._sample(state, batch) if self._engine.judges else []
        first, shown = state.pictures, self._policy.describes(state)
        state, candidates = self._engine.observe(state, batch, look, shown, sample)
        state, updates = self._policy.observe(state, look, candidates, self._engine.abilities)
        if sample:
            items = candidates_of(batch, look, first, sample)
            others = [update for update in (*state.pending, *updates) if not isinstance(update, VsnlUpdate)]
            known = set(state.captions).union(item.id for update in others for item in update.asked)
            unknown = tuple(item for item in items if item.id not in known and item.ref is not None)
            updates.append(JudgeUpdate(0, unknown, tuple(item.id for item in items), look.features[sample]))
            state = replace(state, sampled=state.sampled + len(sample))
        self._report.near_duplicates += sum(update.alike for update in updates if isinstance(update, EnsUpdate))
        due = state.batch + 1 + self._settings.stream.lag
        asked: list[Update] = [replace(update, due=due) for update in updates]
        return replace(state, pending=(*state.pending, *asked)), asked

    def _sample(self, state: AdaptationState, batch: PictureBatch) -> list[int]:
        """Choose the rows of a batch that the judge is asked about: as many as are due, first by sha256."""
        due = sample_due(state.looked + len(batch.rows), self._settings) - state.sampled
        # a detector that has seen pictures before it had a judge catches up bit by bit
        most = math.ceil(self._settings.threshold.questions * len(batch.rows) / JUDGED_BY)
        ids = [str(state.pictures + row) for row in batch.rows]
        return first_of(ids, min(most, max(0, due)), self._settings.seed)

    async def _apply_due(self, state: AdaptationState) -> AdaptationState:
        due = [update for update in state.pending if update.due <= state.batch + 1]
        for update in due:
            state = await self._engine.read(state, update, self._asker)
            state = await self._engine.fill(state, update, compose(self._policy, state, update))
            state = replace(state, pending=tuple(other for other in state.pending if other is not update))
        if due:
            self._note_answers()
        if due or not (len(state.detector.ens) or len(state.detector.vsnl)):
            state = await self._engine.aside(self._engine.settle, state)
        return state

    def _note_answers(self) -> None:
        """Bring counts and notes of the report up to date."""
        tallies = [tally for tally in self._engine.tallies.values() if tally.asked]
        if isinstance(self._report, StreamReport):
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
        captions = [len(update.asked) for update in asked if not isinstance(update, VsnlUpdate)]
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


async def run_stream(
    pictures: Pictures,
    open_engine: Callable[..., AbstractAsyncContextManager[LearningEngine]],
    state: AdaptationState,
    out: "asyncio.Queue[Any]",
    *,
    check: Callable[[], Awaitable[None]],
) -> None:
    """Score pictures from a state on, handing batch by batch to a queue.

    Args:
        pictures: to be scored.
        open_engine: see `ants_engine.learning.engine.open_engine`; it is given who listens to calls.
        state: to go on from.
        out: takes what is delivered.
        check: refuses an MLLM that cannot be used, before CLIP is loaded.
    """
    with plain_errors():
        await check()
        meter = CallMeter()
        async with open_engine(listeners=[meter]) as engine:
            await StreamLoop(engine, state, meter).run(pictures, out)


def _by_row(batch: PictureBatch) -> tuple[ImageRef | None, ...]:
    """Return where the pictures are, a place for every row of the batch."""
    refs: list[ImageRef | None] = [None] * batch.size
    for row, ref in zip(batch.rows, batch.refs, strict=True):
        refs[row] = ref
    return tuple(refs)


class Owner(Protocol):
    """Whose state a stream moves on."""

    @property
    def state(self) -> AdaptationState:
        """The state as it now is."""
        ...

    def begin(self, stream: "Stream") -> None:
        """Refuse a second stream at the same time."""
        ...

    def adopt(self, state: AdaptationState) -> None:
        """Take over the state after a delivered batch."""
        ...

    def note_batch(self, record: BatchRecord, judged: Mapping[str, Any] | None) -> None:
        """Keep the record of a delivered batch, and what the judge has said by then."""
        ...


@dataclass(frozen=True, slots=True)
class _End:
    """There are no more batches, or there was an error."""

    error: BaseException | None


Run = Callable[[AdaptationState, "asyncio.Queue[Any]"], Awaitable[None]]
"""Scores everything from a state on, handing batch by batch to a queue."""


class Stream:
    """An asynchronous iterator of `Scores`, one per batch; make one with `ANTS.stream`.

    The state moves on with every batch that is delivered, and only then: after an error, a cancellation or a ``break``
    it is that of the last batch that the caller has seen. Some batches of pictures are read ahead of it, so go on with
    the pictures from ``stream.state().pictures`` on.

    It ends with the task that reads it: when that is cancelled or fails, what runs behind the stream ends too, also
    where somebody keeps the task. Of several tasks that read it, the last one counts; a task that only waits for one
    batch (``asyncio.wait_for(anext(stream), 5)``) is none of them, and may be given up and tried again.
    """

    def __init__(self, owner: Owner, run: Run, report: StreamReport) -> None:
        """Prepare; nothing starts before the first batch is asked for."""
        self.report = report
        """What has happened so far."""
        self._owner = owner
        self._state: AdaptationState | None = None
        self._run = run
        self._queue: asyncio.Queue[Delivered | _End] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._abandoned = False
        maker = _current_task()
        # a strong reference would keep what the task's own traceback holds, this stream among it
        self._maker = None if maker is None else weakref.ref(maker)
        self._readers: set[asyncio.Task[Any]] = set()

    def __aiter__(self) -> Self:
        """Return itself: a stream can be run through once."""
        return self

    async def __anext__(self) -> Scores:
        """Return the next batch's scores.

        Raises:
            FeatureError: the features do not fit this CLIP, or the pictures.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            UsageError: another stream of the same detector is under way, the MLLM cannot be used at all, or the task
                that read this stream was cancelled or has failed.
            StoreError: the response store is damaged, or a replay misses an answer.
        """
        if self._abandoned:
            raise UsageError(
                "this stream has ended with the task that read it; "
                "go on with a new one, with the pictures from stream.state().pictures on"
            )
        if self._ended:
            raise StopAsyncIteration
        if self._task is None:
            self._owner.begin(self)
            self._state = self._owner.state
            self._task = asyncio.create_task(_run_behind(self._run, self._state, self._queue), name="ants-stream")
            self._task.add_done_callback(partial(_tell_closed, self._queue))
            # a stream that is merely dropped must not leave its task behind
            weakref.finalize(self, _cancel, self._task, asyncio.get_running_loop()).atexit = False
        self._read_by(_current_task())
        try:
            delivered = await self._queue.get()
        except BaseException:
            # whoever keeps the traceback must not keep the stream with it
            del self
            raise
        if isinstance(delivered, _End):
            self._ended = True
            # whoever else waits for a batch is told too
            self._queue.put_nowait(_End(None))
            if delivered.error is not None:
                raise delivered.error
            raise StopAsyncIteration
        self._state = delivered.state
        self._owner.adopt(delivered.state)
        for keeper in (self.report, self._owner):
            keeper.note_batch(delivered.record, delivered.judged)
        return delivered.scores

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def active(self) -> bool:
        """Whether it has begun and not ended."""
        return self._task is not None and not self._ended

    def state(self) -> AdaptationState:
        """Return the state after the last batch that was delivered."""
        return self._state or self._owner.state

    def _read_by(self, task: "asyncio.Task[Any] | None") -> None:
        """Note which task reads; when the last one of them breaks off, the stream has nobody left."""
        if task is not None and _waits_once(task):
            task = None if self._maker is None else self._maker()
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return
        if task not in self._readers:
            self._readers.add(task)
            task.add_done_callback(partial(_reader_ended, weakref.ref(self)))

    def left_by(self, task: "asyncio.Task[Any]", broken_off: bool) -> None:
        """Note that a task that read it has ended. Called back by that task."""
        self._readers.discard(task)
        if broken_off and not self._readers and self._task is not None and not self._ended:
            self._ended = self._abandoned = True
            self._task.cancel()

    async def aclose(self) -> None:
        """End the stream; its state stays. May be called twice."""
        self._ended = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _current_task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _waits_once(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a task was made to await one batch, as `asyncio.wait_for` makes one."""
    return getattr(task.get_coro(), "__qualname__", "") in (Stream.__anext__.__qualname__, "_wrap_awaitable")


def _reader_ended(stream: "weakref.ref[Stream]", task: "asyncio.Task[Any]") -> None:
    found = stream()
    if found is None:
        return
    # Task.exception() would count as having looked at the error, and asyncio would no longer report it
    broken_off = task.cancelled() or getattr(task, "_exception", None) is not None
    found.left_by(task, broken_off)


async def _run_behind(run: Run, state: AdaptationState, queue: "asyncio.Queue[Delivered | _End]") -> None:
    try:
        await run(state, queue)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # nobody has closed the stream: it came out of what it uses
        await queue.put(_End(RuntimeError("the iterator of pictures, or the MLLM, was cancelled")))
    except (GeneratorExit, KeyboardInterrupt, SystemExit):
        # the program ends, and the loop with it
        raise
    except BaseException as error:
        await queue.put(_End(error))
    else:
        await queue.put(_End(None))


def _tell_closed(queue: "asyncio.Queue[Delivered | _End]", task: "asyncio.Task[None]") -> None:
    """Leave nobody waiting for a batch of a stream that was closed."""
    if task.cancelled():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(_End(None))


def _cancel(task: "asyncio.Task[None]", loop: asyncio.AbstractEventLoop) -> None:
    if not task.done() and not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)
