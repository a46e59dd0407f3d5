"""Build a detector: the six stages of the method, with CLIP and the MLLM working at the same time.

Source: ANTS, arXiv 2509.03951, sections 3.2 to 3.4. The arithmetic is in `ants_engine.method`; this module decides
what happens when. A question leaves as soon as its input is certain: look-alikes at once where every class is asked
for anyway, a caption as soon as no picture still to come can push its picture out of the negative images.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ants_engine.build_report import BuildReport, SetAside
from ants_engine.class_list import ClassList
from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.spool import Spool
from ants_engine.clip.text_cache import TextFeatureCache
from ants_engine.clip.worker import ClipWorker
from ants_engine.config import Settings
from ants_engine.detector import Detector
from ants_engine.dispatch.coordinator import Outcome
from ants_engine.errors import (
    AuthenticationError,
    ImageError,
    LexiconError,
    NoImagesError,
    NotEnoughAnswersError,
    QuotaError,
    StoreError,
    UnusableAnswerError,
    UsageError,
)
from ants_engine.history import History
from ants_engine.lexicon.lexicon import Lexicon, load_lexicon
from ants_engine.method.grouping import equal_groups
from ants_engine.method.mining import NegativeImages, certain_negatives, mine_negative_images
from ants_engine.method.neglabel import mine_negative_labels
from ants_engine.method.similar_classes import similar_class_count, similar_classes
from ants_engine.method.threshold import otsu_threshold
from ants_engine.method.weighting import adaptive_score, adaptive_weight
from ants_engine.negative_bank import NegativeBank
from ants_engine.negative_texts import NegativeTexts, look_alikes, sentences
from ants_engine.pictures import PictureBatch, Pictures
from ants_engine.progress import ProgressCallback, ProgressEvent
from ants_engine.questions import Questions

UNDECIDED = 0.5
# no other question would fare better: a replay without the answer, a store that cannot keep one, an MLLM that cannot be
# loaded, a key that is refused, a quota that is spent
FATAL = (StoreError, UsageError, AuthenticationError, QuotaError)


class Build:
    """One build: what it has learned so far, and the questions under way."""

    def __init__(
        self,
        classes: ClassList,
        settings: Settings,
        worker: ClipWorker,
        questions: Questions,
        progress: ProgressCallback,
    ) -> None:
        self.report = BuildReport(templates=questions.templates)
        self._classes = classes
        self._settings = settings
        self._worker = worker
        self._questions = questions
        self._progress = progress
        self._history = History()
        self._captions: dict[int, asyncio.Task[Outcome | ImageError]] = {}
        self._similar: dict[int, asyncio.Task[Outcome | ImageError]] = {}
        self._done = {"captions": 0, "look-alikes": 0}

    async def run(self, pictures: Pictures) -> Detector:
        """Return the finished detector.

        Raises:
            ClassListError: a class text is longer than CLIP's text context, or the lexicon holds only ID names.
            NoImagesError: no picture could be used.
            NotEnoughAnswersError: fewer usable answers than ``dispatch.min_success``.
            StoreError: a replay misses an answer, or the store cannot be used.
        """
        with Spool() as spool:
            async with asyncio.TaskGroup() as group:
                detector = await self._initial_detector(group)
                await self._look_at(pictures, detector, spool, group)
                mined = self._mine(group)
                self._find_similar(detector, group)
                waiting = time.monotonic()
                # leaving the group waits for every answer
        self.report.seconds["waiting for the MLLM"] = time.monotonic() - waiting
        with self._timed("negatives"):
            detector = await self._negative_space(detector, mined)
            return await asyncio.to_thread(self._balance, detector, mined)

    async def _initial_detector(self, group: asyncio.TaskGroup) -> Detector:
        """Stage 1: ID classes and the negatives mined from the lexicon."""
        encoder = self._worker.encoder
        self._classes.check_length(encoder.fits)
        with self._timed("classes"):
            class_features = await self._class_features()
        if similar_class_count(len(self._classes), self._settings.vsnl.delta, self._settings.vsnl.min_classes) == len(
            self._classes
        ):
            # every class will be asked for, so nothing has to be known of the pictures
            self._ask_similar(range(len(self._classes)), group)
        with self._timed("lexicon"):
            source = self._settings.lexicon.source
            lexicon = (await asyncio.to_thread(load_lexicon, source)).without(self._classes.names)
            self.report.lexicon_sha256 = lexicon.sha256
            initial = await self._initial_bank(lexicon, class_features)
        temperature = self._settings.scoring.temperature
        return Detector(
            classes=self._classes,
            class_features=class_features,
            initial=initial,
            ens=NegativeBank.empty("ens", encoder.dim),
            vsnl=NegativeBank.empty("vsnl", encoder.dim),
            temperature=1.0 / encoder.logit_scale if temperature == "auto" else temperature,
            groups=self._groups(len(initial)),
            seed=self._settings.seed,
            weight=UNDECIDED,
            threshold=UNDECIDED,
            clip_identity=encoder.identity,
        )

    async def _class_features(self) -> Tensor:
        texts = [text for prompts in self._classes.prompts for text in prompts]
        features = await self._worker.encode_texts(texts)
        per_class = torch.split(features, [len(prompts) for prompts in self._classes.prompts])
        means = torch.stack([rows.mean(dim=0) for rows in per_class])
        return torch.nn.functional.normalize(means, dim=1)

    async def _initial_bank(self, lexicon: Lexicon, class_features: Tensor) -> NegativeBank:
        if not lexicon.words:
            raise LexiconError("every word of the lexicon is an ID class name; set lexicon.source to another file")
        text = self._settings.text
        by_kind = {"noun": self._classes.template, "adjective": text.adjective_template}
        texts = [by_kind[kind].replace("{}", word) for word, kind in zip(lexicon.words, lexicon.kinds, strict=True)]
        features = await self._worker.encode_texts_cached(
            texts,
            TextFeatureCache(text.feature_cache),
            lambda done: self._progress(ProgressEvent("lexicon", done, len(texts))),
        )
        self._progress(ProgressEvent("lexicon", len(texts), len(texts)))
        # seconds of arithmetic for a large lexicon and many classes must not hold up the questions
        chosen = await asyncio.to_thread(
            mine_negative_labels,
            features,
            class_features,
            count=self._settings.neglabel.count,
            percentile=self._settings.neglabel.percentile,
            kinds=lexicon.kinds,
        )
        order = equal_groups(len(chosen), self._groups(len(chosen)), self._settings.seed).order
        # kept in the order of the groups, so that scoring cuts them without a copy
        rows = chosen if order is None else chosen[order]
        source = Path(self._settings.lexicon.source).name
        words = tuple(lexicon.words[row] for row in rows.tolist())
        return NegativeBank("neglabel", words, (source,) * len(words), features[rows].contiguous())

    def _groups(self, negatives: int) -> int:
        neglabel = self._settings.neglabel
        return max(1, min(neglabel.groups, negatives // neglabel.min_group_length))

    async def _look_at(self, pictures: Pictures, detector: Detector, spool: Spool, group: asyncio.TaskGroup) -> None:
        """Encode and score every picture; ask for the captions that are certain to be needed."""
        with self._timed("pictures"):
            async for batch in pictures.batches(self._worker, self._settings):
                predicted, scores = await asyncio.to_thread(detector.first_look, batch.features)
                await asyncio.to_thread(self._spool, batch, scores, spool)
                self._history.add(batch, predicted, scores)
                seen = len(self._history)
                self._progress(ProgressEvent("pictures", seen + len(self._history.failures), pictures.total))
                await self._ask_certain(pictures.total, group)
        self.report.pictures = len(self._history)
        self.report.set_aside += [SetAside("picture", failure.name, str(failure)) for failure in self._history.failures]
        if not len(self._history):
            raise NoImagesError(
                f"none of the {len(self._history.failures)} pictures can be used, first: {self._history.failures[0]}"
                if self._history.failures
                else "there are no pictures to learn from"
            )

    def _spool(self, batch: PictureBatch, scores: Tensor, spool: Spool) -> None:
        """Keep on disk what the MLLM may have to see and nobody can read again."""
        for row in torch.nonzero(scores.double() < self._settings.mining.gamma).flatten().tolist():
            ref, image = batch.refs[row], batch.images[row]
            if ref is None or ref.rereadable:
                continue
            try:
                # where features were given, nobody has decoded it yet
                image = image or ref.load(self._settings.pictures)
            except ImageError as error:
                self.report.set_aside.append(SetAside("picture", ref.name, str(error)))
                batch.refs[row] = None
            else:
                batch.refs[row] = spool.put(ref, image, self._settings.mllm.image_max_side)
        for ref in batch.refs:
            if ref is not None:
                ref.release()

    async def _ask_certain(self, total: int | None, group: asyncio.TaskGroup) -> None:
        remaining = -1 if total is None else total - len(self._history) - len(self._history.failures)
        if remaining < 0 or not len(self._history):
            # the number of pictures is unknown, or what the user's container said of it was wrong
            return
        mining = self._settings.mining
        certain = await asyncio.to_thread(
            certain_negatives, self._history.scores(), remaining, mining.gamma, mining.eta, mining.max_images
        )
        self._ask_captions(certain.tolist(), group)

    def _ask_captions(self, rows: list[int], group: asyncio.TaskGroup) -> None:
        if not self._questions.can_show_pictures:
            return
        for row in rows:
            ref = self._history.refs[row]
            if ref is not None and row not in self._captions:
                class_name = self._classes.names[self._history.predicted[row]]
                self._captions[row] = group.create_task(self._caption(ref, class_name))

    async def _caption(self, ref: ImageRef, class_name: str) -> Outcome | ImageError:
        try:
            outcome = await self._questions.describe(ref, class_name)
        except ImageError as error:
            # the file was there when CLIP read it; the picture keeps its place in the history
            return error
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
        self._answered("look-alikes", len(self._similar), outcome)
        return outcome

    def _answered(self, stage: str, total: int, outcome: Outcome) -> None:
        if isinstance(outcome.error, FATAL):
            raise outcome.error
        self._done[stage] += 1
        self._progress(ProgressEvent(stage, self._done[stage], total, self._questions.in_words()))

    def _mine(self, group: asyncio.TaskGroup) -> NegativeImages:
        """Stages 2 and 3: the negative images, and a caption for each."""
        mining = self._settings.mining
        mined = mine_negative_images(self._history.scores(), mining.gamma, mining.eta, mining.max_images)
        rows = mined.indices.tolist()
        self.report.candidates = mined.candidates
        self.report.negative_images = len(rows)
        self.report.gamma_star = mined.threshold
        self._ask_captions(rows, group)
        if not rows:
            self.report.notes.append(
                f"no picture scored below gamma {mining.gamma}: nothing looks foreign, S_nl stands in"
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
        mean = self._history.features().mean(dim=0)
        ranked = similar_classes(detector.class_features, mean, vsnl.delta, vsnl.min_classes).tolist()
        self.report.similar_classes = tuple(self._classes.names[index] for index in ranked)
        self._ask_similar(ranked, group)

    async def _negative_space(self, detector: Detector, mined: NegativeImages) -> Detector:
        """Turn the answers into the two banks."""
        fits = self._worker.encoder.fits
        captions, lost = self._answers(
            [(self._history.names[row], self._captions.get(row)) for row in mined.indices.tolist()]
        )
        index = {name: row for row, name in enumerate(self._classes.names)}
        labels, none = self._answers([(name, self._similar.get(index[name])) for name in self.report.similar_classes])
        ens = await asyncio.to_thread(sentences, captions, self._classes, self._settings.ens, fits)
        vsnl = await asyncio.to_thread(look_alikes, labels, self._classes, self._settings.vsnl)
        for task, texts, answered, failed in (("ens", ens, captions, lost), ("vsnl", vsnl, labels, none)):
            self.report.set_aside += texts.set_aside
            self._check_share(task, len(answered) + len(failed), failed, texts)
            if answered and not texts.texts:
                self.report.notes.append(f"{task}: none of {len(answered)} answers could be used; the bank is empty")
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

    def _answers(
        self, tasks: Iterable[tuple[str, asyncio.Task[Outcome | ImageError] | None]]
    ) -> tuple[list[tuple[str, str]], list[Exception]]:
        """Sort finished questions, named by what they were about, into answers and errors, in the order given."""
        answers: list[tuple[str, str]] = []
        errors: list[Exception] = []
        for name, task in tasks:
            if task is None:
                continue
            outcome = task.result()
            error = outcome if isinstance(outcome, ImageError) else outcome.error
            if isinstance(outcome, ImageError):
                self.report.set_aside.append(SetAside("picture", outcome.name, str(outcome)))
            else:
                self.report.from_store += outcome.source == "store"
                self.report.asked += outcome.source != "store"
                if outcome.answer is not None:
                    answers.append((name, outcome.answer.text))
                if error is not None:
                    self.report.set_aside.append(SetAside("request", name, f"{type(error).__name__}: {error}"))
            if error is not None:
                self.report.failed += 1
                errors.append(error)
        return answers, errors

    def _check_share(self, task: str, asked: int, failed: list[Exception], texts: NegativeTexts) -> None:
        """Refuse to build on too few usable answers. A single failure never ends a build of several questions."""
        least = self._settings.dispatch.min_success
        bad = len(failed) + texts.unusable
        if bad <= (1 if asked > 1 else 0) or 1 - bad / asked >= least:
            return
        causes: dict[str, tuple[Exception, int]] = {}
        unusable = [UnusableAnswerError(f"answer set aside: {reason}") for reason in texts.unusable_reasons]
        for error in (*failed, *unusable):
            key = f"{type(error).__name__}: {error}"
            causes[key] = (error, causes.get(key, (error, 0))[1] + 1)
        ranked = sorted(causes.items(), key=lambda cause: -cause[1][1])
        spelled = "; ".join(f"{count} × {key}" for key, (_, count) in ranked[:5])
        raise NotEnoughAnswersError(
            f"{task}: {asked - bad} of {asked} answers can be used, {least:.0%} are needed (dispatch.min_success). "
            f"{spelled}. "
            "What was answered is kept; run again, or try another template or MLLM",
            [error for _, (error, _) in ranked],
        )

    def _balance(self, detector: Detector, mined: NegativeImages) -> Detector:
        """Stage 6: lambda from the negative images, the threshold from the whole history."""
        features = self._history.features()
        columns = detector.score_columns(features)
        weight = self._settings.scoring.weight
        if weight == "adaptive":
            weight = UNDECIDED
            if len(detector.ens) or len(detector.vsnl):
                weight = adaptive_weight(
                    columns["ens_score"][mined.indices] if len(detector.ens) else None,
                    columns["vsnl_score"][mined.indices] if len(detector.vsnl) else None,
                )
        threshold = self._settings.scoring.threshold
        if threshold == "auto":
            threshold = otsu_threshold(adaptive_score(columns["ens_score"], columns["vsnl_score"], weight))
        return replace(detector, weight=weight, threshold=threshold)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.seconds[stage] = time.monotonic() - started
