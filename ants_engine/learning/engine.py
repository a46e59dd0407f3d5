"""What a build and a stream have in common: from pictures to questions, from answers to banks.

::

    observe   count a batch; which of its pictures are candidates      (here)
    policy    which pictures and classes are asked about               (`Policy`)
    ask       one task per question                                    (`Asker`)
    read      what each answer says, or why it is of no use            (`AnswerReader`)
    compose   which texts a bank is to hold                            (`Policy`)
    fill      encode the new ones                                      (here)
    settle    lambda and the threshold for the new banks               (`settle`)

A stream does it for every batch, with `stream.lag` between asking and reading; a build does it once, at its end.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ants_engine.clip.image_ref import Spool
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.progress import ProgressCallback
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.learning.answers import AnswerReader, Tally
from ants_engine.learning.pictures import PictureBatch, keep_pictures
from ants_engine.learning.policy import Abilities, Composition, Policy, count_classes
from ants_engine.learning.questions import Asker, Questions
from ants_engine.learning.report import BuildReport, SetAside
from ants_engine.learning.run_observer import RunObserver
from ants_engine.learning.scoring import remember
from ants_engine.learning.state import AdaptationState, Candidate, EnsUpdate, Update
from ants_engine.settings.config import Settings

T = TypeVar("T")


def new_tallies() -> dict[str, Tally]:
    """Return an empty tally per task."""
    return {task: Tally(task) for task in ("ens", "vsnl")}


@dataclass(eq=False)
class LearningEngine:
    """One run's way from pictures to banks. It holds no state of the detector: that goes in and comes out."""

    classes: ClassList
    settings: Settings
    worker: ClipWorker
    """CLIP."""
    questions: Questions
    """The MLLM."""
    report: BuildReport
    progress: ProgressCallback
    spool: Spool
    """Keeps pictures that cannot be read again; a stream that goes on from here needs them too."""
    observer: RunObserver
    """Told of pictures and answers; it raises nothing."""
    tallies: Mapping[str, Tally] = field(default_factory=new_tallies)

    def __post_init__(self) -> None:
        """Prepare."""
        self.abilities = Abilities(self.questions.can_show_pictures, self.questions.can_ask_in_words)
        self.reader = AnswerReader(self.classes, self.settings, self.worker.encoder.fits, self.report, self.tallies)
        # one thread for all arithmetic: each further one would keep scratch memory, and workers of torch, of its own
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ants-learning")

    def asker(self, *, bounded: bool, ends_run: tuple[type[Exception], ...]) -> Asker:
        """Return who asks the questions, see `Asker`."""
        return Asker(self.classes, self.questions, self.progress, self.observer, bounded=bounded, ends_run=ends_run)

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))

    def close(self) -> None:
        """Let go of the thread; work that was given up may still be under way."""
        self._thread.shutdown(wait=False)

    def observe(
        self, state: AdaptationState, batch: PictureBatch, look: EncodedBatch, shown: bool = True
    ) -> tuple[AdaptationState, list[Candidate | None]]:
        """Count the n pictures of a batch; keep what may have to be shown and nobody can read again (blocking).

        Args:
            state: after the batch before.
            batch: its references are replaced, see `keep_pictures`.
            look: at its n pictures.
            shown: whether its candidates may have to be shown to the MLLM.

        Returns:
            The state, and per picture a candidate, or None where its score is not below gamma.
        """
        for failure in batch.failures:
            self.report.put_aside(SetAside("picture", failure.name, str(failure)))
        low = look.initial.double() < state.gamma
        kept = torch.nonzero(low).flatten().tolist() if shown else []
        for error in keep_pictures(batch, kept, self.spool, self.settings):
            self.report.put_aside(SetAside("picture", error.name, str(error)))
        candidates = [
            Candidate(state.pictures + row, name, predicted, ref) if is_low else None
            for row, name, predicted, ref, is_low in zip(
                batch.rows, batch.names, look.predicted.tolist(), batch.refs, low.tolist(), strict=True
            )
        ]
        return remember(count_classes(state, look), look), candidates

    async def read(self, state: AdaptationState, update: Update, asker: Asker) -> AdaptationState:
        """Wait for the answers to an update; return the state with what they say.

        Raises:
            ANTSError: an error that would meet every question.
        """
        outcomes = await asker.answers(update)
        return await self.aside(self._read, state, update, outcomes)

    def _read(self, state: AdaptationState, update: Update, outcomes: list[Any]) -> AdaptationState:
        if isinstance(update, EnsUpdate):
            features: dict[int, Tensor] = dict(zip(update.members, update.features, strict=True))
            captions = dict(state.captions)
            for item, outcome in zip(update.asked, outcomes, strict=True):
                captions[item.id] = self.reader.caption(item, outcome, features.get(item.id))
            described = state.candidates.described(item.id for item in update.asked)
            return replace(state, captions=captions, candidates=described)
        labels = dict(state.labels)
        for index, outcome in zip(update.asked, outcomes, strict=True):
            found = self.reader.look_alikes(index, outcome)
            if found is None:
                labels.pop(index, None)
            else:
                labels[index] = found
        return replace(state, labels=labels)

    async def fill(self, state: AdaptationState, update: Update, composition: Composition) -> AdaptationState:
        """Put the composed texts into the bank; only those that it does not hold already are encoded."""
        detector = state.detector
        if isinstance(update, EnsUpdate):
            self.report.negative_images = len(update.members)
            bank = await self._bank(detector.ens, composition, "{}")
            return replace(state, detector=replace(detector, ens=bank, activation=None), negatives=update.features)
        bank = await self._bank(detector.vsnl, composition, detector.classes.template)
        return replace(state, detector=replace(detector, vsnl=bank))

    async def _bank(self, old: NegativeBank, composition: Composition, template: str) -> NegativeBank:
        new = [row for row, known in enumerate(composition.rows) if known is None]
        encoded = await self.worker.encode_texts([template.replace("{}", composition.texts[row]) for row in new])
        features = torch.empty(len(composition.texts), old.features.shape[1])
        kept = [row for row, known in enumerate(composition.rows) if known is not None]
        features[kept] = old.features[[row for row in composition.rows if row is not None]]
        features[new] = encoded
        return NegativeBank(old.kind, composition.texts, composition.sources, features)


def compose(policy: Policy, state: AdaptationState, update: Update) -> Composition:
    """Say which texts the update's bank is to hold; the state has the answers."""
    return policy.sentences(state, update) if isinstance(update, EnsUpdate) else policy.look_alikes(state, update)
