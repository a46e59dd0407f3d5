"""Build a detector: the six stages of the method, with CLIP and the MLLM working at the same time.

Source: ANTS, arXiv 2509.03951, sections 3.2 to 3.4. The arithmetic is in `ants_engine.method`; this module decides
what happens when. A question leaves as soon as its input is certain: look-alikes at once where every class is asked
for anyway, a caption as soon as no picture still to come can push its picture out of the negative images.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.spool import Spool
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.dispatch.request import Outcome
from ants_engine.errors import ImageError, NoImagesError
from ants_engine.learning.answers import ENDS_A_BUILD, Tally, sort_answers
from ants_engine.learning.balance import balance
from ants_engine.learning.history import History
from ants_engine.learning.initial_detector import InitialDetector
from ants_engine.learning.negative_texts import NegativeTexts, look_alikes, sentences
from ants_engine.learning.pictures import PictureBatch, Pictures, keep_pictures
from ants_engine.learning.policy import class_counts, ranked_classes
from ants_engine.learning.questions import Questions
from ants_engine.learning.report import BuildReport, SetAside
from ants_engine.learning.rows import Rows
from ants_engine.learning.run_observer import AnsweredQuestion, FirstLook, RunObserver, RunStart
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.stream_scoring import ranked_by_activation
from ants_engine.learning.warm import warm_state
from ants_engine.method.mining import CertainNegatives, NegativeImages, mine_negative_images
from ants_engine.method.near_duplicates import unlike
from ants_engine.method.similar_classes import similar_class_count
from ants_engine.settings.config import Settings


class Build:
    """One build: what it has learned so far, and the questions under way."""

    def __init__(
        self,
        classes: ClassList,
        settings: Settings,
        worker: ClipWorker,
        questions: Questions,
        progress: ProgressCallback,
        spool: Spool,
        observer: RunObserver,
    ) -> None:
        """Prepare.

        Args:
            classes: the ID classes.
            settings: everything about them.
            worker: CLIP.
            questions: the MLLM.
            progress: told of every step.
            spool: keeps pictures that cannot be read again; a stream that goes on from here needs them too.
            observer: told of pictures and answers; it raises nothing.
        """
        self.report = BuildReport(templates=questions.templates, notes=list(classes.notes))
        self._classes = classes
        self._settings = settings
        self._worker = worker
        self._questions = questions
        self._progress = progress
        self._history = History()
        mining = settings.mining
        self._certain = CertainNegatives(mining.gamma, mining.eta, mining.max_images)
        self._spool = spool
        self._observer = observer
        self._captions: dict[int, asyncio.Task[Outcome | ImageError]] = {}
        self._same: set[int] = set()
        self._described = Rows.of(torch.iinfo(torch.int64).max, worker.encoder.dim)
        """Features of the pictures that are being described."""
        self._similar: dict[int, asyncio.Task[Outcome | ImageError]] = {}
        self._ranked: tuple[int, ...] = ()
        self._done = {"captions": 0, "look-alikes": 0}

    async def run(self, pictures: Pictures) -> AdaptationState:
        """Return the finished detector, with the history that a stream can go on from.

        Raises:
            ClassListError: a class text is longer than CLIP's text context, or the lexicon holds only ID names.
            NoImagesError: no picture could be used.
            NotEnoughAnswersError: fewer usable answers than ``dispatch.min_success``.
            StoreError: a replay misses an answer, or the store cannot be used.
        """
        self._questions.on_heartbeat(self._beat)
        gamma = self._settings.mining.gamma
        self._observer.began(RunStart("build", self._classes.names, pictures.total, self._settings, gamma))
        async with asyncio.TaskGroup() as group:
            detector = await self._initial_detector(group)
            await self._look_at(pictures, detector, group)
            mined = await self._mine(group)
            self._find_similar(detector, group)
            waiting = time.monotonic()
            # leaving the group waits for every answer
        self.report.seconds["waiting for the MLLM"] = time.monotonic() - waiting
        self.report.cost = self._questions.spent.cost
        self._observer.stands(*self._questions.standing)
        with self._timed("negatives"):
            detector = await self._negative_space(detector, mined)
            detector = await asyncio.to_thread(self._balance, detector, mined)
            return await asyncio.to_thread(self._state, detector, mined)

    def _state(self, detector: Detector, mined: NegativeImages) -> AdaptationState:
        captions = {row: _text(task) for row, task in self._captions.items()}
        similar = {index: _text(task) for index, task in self._similar.items()}
        fits = self._worker.encoder.fits
        return warm_state(detector, self._history, mined.indices.tolist(), captions, similar, self._settings, fits)

    async def _initial_detector(self, group: asyncio.TaskGroup) -> Detector:
        """Stage 1: ID classes and the negatives mined from the lexicon."""
        initial = InitialDetector(self._classes, self._settings, self._worker, self.report, self._progress)
        vsnl, classes = self._settings.vsnl, len(self._classes)
        with self._timed("classes"):
            class_features = await initial.class_features()
        if vsnl.rule == "mean_cosine" and similar_class_count(classes, vsnl.delta, vsnl.min_classes) == classes:
            # every class will be asked for, so nothing has to be known of the pictures
            self._ask_similar(range(classes), group)
        with self._timed("lexicon"):
            return await initial.finish(class_features)

    async def _look_at(self, pictures: Pictures, detector: Detector, group: asyncio.TaskGroup) -> None:
        """Encode and score every picture; ask for the captions that are certain to be needed."""
        with self._timed("pictures"):
            async for batch in pictures.batches(self._worker, self._settings, self._settings.clip.batch_size):
                look = await asyncio.to_thread(detector.look, batch.features)
                await asyncio.to_thread(self._keep, batch, look.initial)
                self._history.add(batch, look.predicted, look.initial)
                self._observer.looked(FirstLook.of(batch, look, self._settings.mining.gamma))
                seen = len(self._history)
                self._progress(ProgressEvent("pictures", seen + len(self._history.failures), pictures.total))
                await self._ask_certain(look.initial, pictures.total, group)
        self.report.pictures = len(self._history)
        self.report.put_aside(*(SetAside("picture", each.name, str(each)) for each in self._history.failures))
        if not len(self._history):
            raise NoImagesError(
                f"none of the {len(self._history.failures)} pictures can be used, first: {self._history.failures[0]}"
                if self._history.failures
                else "there are no pictures to learn from"
            )

    def _keep(self, batch: PictureBatch, scores: Tensor) -> None:
        rows = torch.nonzero(scores.double() < self._settings.mining.gamma).flatten().tolist()
        for error in keep_pictures(batch, rows, self._spool, self._settings):
            self.report.put_aside(SetAside("picture", error.name, str(error)))

    async def _ask_certain(self, scores: Tensor, total: int | None, group: asyncio.TaskGroup) -> None:
        """Ask about the pictures that are certain since the latest ones have these scores (n,)."""
        remaining = -1 if total is None else total - len(self._history) - len(self._history.failures)
        if remaining < 0 or not len(self._history):
            # the number of pictures is unknown, or what the user's container said of it was wrong
            return
        await self._ask_captions(self._certain.add(scores, remaining), group)

    async def _ask_captions(self, rows: list[int], group: asyncio.TaskGroup) -> None:
        if not self._questions.can_show_pictures:
            return
        new = [row for row in rows if row not in self._captions and row not in self._same]
        # a picture that cannot be shown is not compared either
        shown = [row for row in new if self._history.refs[row] is not None]
        for row in await asyncio.to_thread(self._each_once, shown):
            ref = self._history.refs[row]
            if ref is not None:
                class_name = self._classes.names[self._history.predicted[row]]
                self._captions[row] = group.create_task(self._caption(ref, class_name))

    def _each_once(self, rows: list[int]) -> list[int]:
        """Leave out what looks like a picture that is being described."""
        cosine = self._settings.mining.same_picture
        if cosine is None or not rows:
            return rows
        features = self._history.rows(rows)
        wanted = unlike(features, self._described.tensor(), cosine)
        self._described = self._described.append(features[torch.tensor(wanted)])
        self._same.update(row for row, new in zip(rows, wanted, strict=True) if not new)
        return [row for row, new in zip(rows, wanted, strict=True) if new]

    async def _caption(self, ref: ImageRef, class_name: str) -> Outcome | ImageError:
        outcome: Outcome | ImageError
        try:
            outcome = await self._questions.describe(ref, class_name)
        except ImageError as error:
            # the file was there when CLIP read it; the picture keeps its place in the history
            outcome = error
        self._observer.answered(AnsweredQuestion("ens", ref.name, class_name, ref, outcome))
        if isinstance(outcome, Outcome):
            self._answered("captions", len(self._captions), outcome)
        return outcome

    def _ask_similar(self, classes: Iterable[int], group: asyncio.TaskGroup) -> None:
        if not self._questions.can_ask_in_words:
            return
        for index in classes:
            if index not in self._similar:
                self._similar[index] = group.create_task(self._look_alikes(self._classes.names[index]))

    async def _look_alikes(self, class_name: str) -> Outcome | ImageError:
        outcome = await self._questions.look_alikes(class_name)
        self._observer.answered(AnsweredQuestion("vsnl", class_name, class_name, None, outcome))
        self._answered("look-alikes", len(self._similar), outcome)
        return outcome

    def _answered(self, stage: str, total: int, outcome: Outcome) -> None:
        if isinstance(outcome.error, ENDS_A_BUILD):
            raise outcome.error
        self._done[stage] += 1
        self._progress(ProgressEvent(stage, self._done[stage], total, self._questions.in_words()))

    def _beat(self) -> None:
        self._observer.stands(*self._questions.standing)
        # A bar that only moves with answers cannot tell waiting from stuck.
        for stage, asked in (("captions", self._captions), ("look-alikes", self._similar)):
            if self._done[stage] < len(asked):
                self._progress(ProgressEvent(stage, self._done[stage], len(asked), self._questions.in_words()))

    async def _mine(self, group: asyncio.TaskGroup) -> NegativeImages:
        """Stages 2 and 3: the negative images, and a caption for each."""
        mining = self._settings.mining
        mined = mine_negative_images(self._history.scores(), mining.gamma, mining.eta, mining.max_images)
        rows = mined.indices.tolist()
        self.report.candidates = mined.candidates
        self.report.negative_images = len(rows)
        self.report.gamma_star = mined.threshold
        await self._ask_captions(rows, group)
        self.report.near_duplicates = len(self._same)
        if not rows:
            self.report.notes.append(
                f"no picture scored below gamma {mining.gamma}: nothing looks unknown, S_nl stands in"
            )
        elif not self._questions.can_show_pictures:
            self.report.notes.append("this MLLM takes no pictures: there are no sentences, look-alikes only")
        elif not self._captions:
            self.report.notes.append("only features were given: there are no pictures to describe, look-alikes only")
        return mined

    def _find_similar(self, detector: Detector, group: asyncio.TaskGroup) -> None:
        """Stages 4 and 5: the classes that the stream looks like, and look-alikes of each."""
        vsnl = self._settings.vsnl
        if not self._questions.can_ask_in_words:
            self.report.notes.append("this MLLM cannot be asked without a picture: there are no look-alikes")
            return
        if not self._classes.own_template:
            self.report.notes.append(
                "the ID classes' prompts have no template in common: look-alikes and lexicon are written with "
                f"text.class_template {self._classes.template!r}"
            )
        counts, first = class_counts(torch.tensor(self._history.predicted), len(self._classes))
        mean = self._history.features().mean(dim=0)
        ranked = ranked_classes(vsnl, detector.class_features, mean, counts, first)
        self.report.similar_classes = tuple(self._classes.names[index] for index in ranked)
        self._ranked = tuple(ranked)
        self._ask_similar(ranked, group)

    async def _negative_space(self, detector: Detector, mined: NegativeImages) -> Detector:
        """Turn the answers into the two banks."""
        fits = self._worker.encoder.fits
        captions, lost = self._answers(
            [(self._history.names[row], self._captions.get(row)) for row in mined.indices.tolist()]
        )
        # by index: two classes may have one name
        labels, none = self._answers([(self._classes.names[row], self._similar.get(row)) for row in self._ranked])
        ens = await asyncio.to_thread(sentences, captions, self._classes, self._settings.ens, fits)
        vsnl = await asyncio.to_thread(look_alikes, labels, self._classes, self._settings.vsnl)
        self.report.notes += ens.notes(len(captions))
        for task, texts, answered, failed in (("ens", ens, captions, lost), ("vsnl", vsnl, labels, none)):
            self.report.put_aside(*texts.set_aside)
            tally = await asyncio.to_thread(self._tally, task, texts, len(answered), failed)
            await asyncio.to_thread(tally.check, self._settings.dispatch.min_success)
            if tally.asked and not texts.texts:
                self.report.notes.append(
                    f"{tally.task}: none of {tally.asked} answers could be used; the bank is empty"
                )
            self.report.notes += await asyncio.to_thread(tally.notes)
        self.report.ens_texts, self.report.vsnl_texts = len(ens.texts), len(vsnl.texts)
        total = len(ens.texts) + len(vsnl.texts)
        self._progress(ProgressEvent("negatives", 0, total))
        ens_features = await self._worker.encode_texts(ens.texts)
        vsnl_features = await self._worker.encode_texts(
            [self._classes.template.replace("{}", label) for label in vsnl.texts]
        )
        self._progress(ProgressEvent("negatives", total, total))
        return replace(
            detector,
            ens=NegativeBank("ens", tuple(ens.texts), tuple(ens.sources), ens_features),
            vsnl=NegativeBank("vsnl", tuple(vsnl.texts), tuple(vsnl.sources), vsnl_features),
        )

    def _tally(self, task: str, texts: NegativeTexts, answered: int, failed: Sequence[Exception]) -> Tally:
        """Count what came of a task's questions."""
        tally = Tally(task, answered + len(failed), bare=texts.bare + len(failed))
        for error in failed:
            tally.fail(error)
        for reason in texts.unusable_reasons:
            tally.reject(reason)
        questions = self._captions if task == "ens" else self._similar
        features = self._history.features() if questions and task == "ens" else None
        for index, question in questions.items():
            outcome = question.result()
            if isinstance(outcome, Outcome) and outcome.answer is not None:
                shown = self._history.predicted[index] if task == "ens" else index
                feature = None if features is None else features[index]
                tally.hear(outcome.answer, self._classes.names[shown], feature)
        return tally

    def _answers(
        self, tasks: Iterable[tuple[str, asyncio.Task[Outcome | ImageError] | None]]
    ) -> tuple[list[tuple[str, str]], list[Exception]]:
        """Sort finished questions, named by what they were about, into answers and errors, in the order given."""
        return sort_answers([(name, task.result()) for name, task in tasks if task is not None], self.report)

    def _balance(self, detector: Detector, mined: NegativeImages) -> Detector:
        """Stage 6: lambda from the negative images, the threshold from the whole history."""
        features, initial = self._history.features(), self._history.scores()
        detector = ranked_by_activation(detector, features, initial, self._settings)
        return balance(detector, features, initial, features[mined.indices], self._settings)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.seconds[stage] = time.monotonic() - started


def _text(task: "asyncio.Task[Outcome | ImageError]") -> str | None:
    """Return what was answered, if anything was."""
    outcome = task.result()
    return None if isinstance(outcome, ImageError) or outcome.answer is None else outcome.answer.text
