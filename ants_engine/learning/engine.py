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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import Encoder
from ants_engine.clip.image_ref import Spool
from ants_engine.clip.worker import ClipWorker
from ants_engine.common.progress import ProgressCallback, ProgressEvent, progress_reporter
from ants_engine.common.task_errors import plain_errors
from ants_engine.common.versions import installed_versions
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.observer import Observer
from ants_engine.learning.answers import AnswerReader, Tally
from ants_engine.learning.pictures import PictureBatch, keep_pictures
from ants_engine.learning.policy import Abilities, Composition, Policy, count_classes
from ants_engine.learning.questions import Asker, Questions
from ants_engine.learning.report import BuildReport, SetAside
from ants_engine.learning.run_observer import RunObserver, RunObservers
from ants_engine.learning.scoring import find_judged, remember, settle
from ants_engine.learning.state import (
    AdaptationState,
    AskedPictures,
    Candidate,
    Caption,
    EnsUpdate,
    JudgeUpdate,
    Update,
)
from ants_engine.protocol import Backend
from ants_engine.settings.config import Settings

T = TypeVar("T")


PACKAGES = ("ants-engine", "torch", "open_clip_torch", "numpy", "pillow")
"""What scores depend on."""


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
        fits, verifies = self.worker.encoder.fits, self.questions.verifies
        self.reader = AnswerReader(self.classes, self.settings, fits, self.report, self.tallies, verifies=verifies)
        scoring = self.settings.scoring
        wanted = scoring.threshold == "judge" and self.settings.threshold.questions > 0
        self.judged: dict[str, Any] | None = None
        """How `settle` has last found the judge's threshold, see `BuildReport.judged`."""
        self.judges = wanted and scoring.in_score == "pool" and verifies and self.abilities.pictures
        # one thread for all arithmetic: each further one would keep scratch memory, and workers of torch, of its own
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ants-learning")

    def notes_on_judge(self, *, features_only: bool) -> list[str]:
        """Say why there is no judge where the settings ask for one.

        Args:
            features_only: there are no pictures to show.
        """
        if self.settings.scoring.threshold != "judge" or (self.judges and not features_only):
            return []
        why = "only features were given"
        if self.settings.scoring.in_score != "pool":
            why = "scoring.threshold = judge takes scoring.in_score = pool"
        elif not self.settings.threshold.questions:
            why = "threshold.questions is 0"
        elif not self.questions.verifies:
            why = "the prompt template does not verify (ens/v3 does)"
        elif not self.abilities.pictures:
            why = "this MLLM takes no pictures"
        return [f"{why}: no judge, the empirical null stands in"]

    def asker(self, *, bounded: bool, ends_run: tuple[type[Exception], ...]) -> Asker:
        """Return who asks the questions, see `Asker`."""
        return Asker(self.classes, self.questions, self.progress, self.observer, bounded=bounded, ends_run=ends_run)

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do blocking work off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))

    def settle(self, state: AdaptationState, *, complete: bool = False) -> AdaptationState:
        """Find lambda and the threshold anew, after a bank has changed, and note what the judge said (blocking).

        Args:
            state: with its banks.
            complete: these are all the pictures there are; see `settle`.
        """
        if self.settings.scoring.in_score != "pool":
            return settle(state, self.settings, complete=complete)
        state, found = find_judged(state, self.settings)
        self.judged = None if found is None else found.to_dict()
        return state

    def close(self) -> None:
        """Let go of the thread; work that was given up may still be under way."""
        self._thread.shutdown(wait=False)

    def observe(
        self,
        state: AdaptationState,
        batch: PictureBatch,
        look: EncodedBatch,
        shown: bool = True,
        sample: Sequence[int] = (),
    ) -> tuple[AdaptationState, list[Candidate | None]]:
        """Count the n pictures of a batch; keep what may have to be shown and nobody can read again (blocking).

        Args:
            state: after the batch before.
            batch: its references are replaced, see `keep_pictures`.
            look: at its n pictures.
            shown: whether its candidates may have to be shown to the MLLM.
            sample: rows of the batch that the judge may be asked about.

        Returns:
            The state, and per picture a candidate, or None where its score is not below gamma.
        """
        for failure in batch.failures:
            self.report.put_aside(SetAside("picture", failure.name, str(failure)))
        low = torch.nonzero(look.initial.double() < state.gamma).flatten().tolist()
        kept = sorted({*(low if shown else []), *sample})
        for error in keep_pictures(batch, kept, self.spool, self.settings):
            self.report.put_aside(SetAside("picture", error.name, str(error)))
        found = dict(zip(low, candidates_of(batch, look, state.pictures, low), strict=True))
        return remember(count_classes(state, look), look), [found.get(row) for row in range(len(batch.rows))]

    async def read(self, state: AdaptationState, update: Update, asker: Asker) -> AdaptationState:
        """Wait for the answers to an update; return the state with what they say.

        Raises:
            ANTSError: an error that would meet every question.
        """
        outcomes = await asker.answers(update)
        return await self.aside(self._read, state, update, outcomes)

    def _read(self, state: AdaptationState, update: Update, outcomes: list[Any]) -> AdaptationState:
        if isinstance(update, EnsUpdate | JudgeUpdate):
            features: dict[int, Tensor] = dict(zip(update.members, update.features, strict=True))
            captions = dict(state.captions)
            for item, outcome in zip(update.asked, outcomes, strict=True):
                captions[item.id] = self.reader.caption(item, outcome, features.get(item.id))
            described = state.candidates.described(item.id for item in update.asked)
            asked = self._verified(state, update, captions)
            self.report.verified = self.tallies["ens"].verified
            return replace(state, captions=captions, candidates=described, asked=asked)
        labels = dict(state.labels)
        for index, outcome in zip(update.asked, outcomes, strict=True):
            found = self.reader.look_alikes(index, outcome)
            if found is None:
                labels.pop(index, None)
            else:
                labels[index] = found
        return replace(state, labels=labels)

    def _verified(
        self, state: AdaptationState, update: EnsUpdate | JudgeUpdate, captions: Mapping[int, Caption]
    ) -> AskedPictures:
        """Keep what was said of pictures that were to be verified."""
        if not self.questions.verifies:
            return state.asked
        judge = isinstance(update, JudgeUpdate)
        # of the sample, also those that are described anyway: they count with the sample, and once
        later = {key for other in state.pending if isinstance(other, JudgeUpdate) for key in other.members}
        ids = update.members if judge else [item.id for item in update.asked if item.id not in later]
        found = {key: captions[key] for key in ids if key in captions}
        said = {key: caption.is_id for key, caption in found.items() if caption.is_id is not None}
        if not said:
            return state.asked
        row_of = {member: row for row, member in enumerate(update.members)}
        features = update.features[[row_of[key] for key in said]]
        votes = state.detector.look(features).lexicon_vote
        return state.asked.append(
            features,
            torch.zeros(len(said)) if votes is None else votes,
            list(said.values()),
            [found[key].source for key in said],
            sampled=judge,
        )

    async def fill(self, state: AdaptationState, update: Update, composition: Composition) -> AdaptationState:
        """Put the composed texts into the bank; only those that it does not hold already are encoded."""
        detector = state.detector
        if isinstance(update, JudgeUpdate):
            return state
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


def candidates_of(batch: PictureBatch, look: EncodedBatch, first: int, rows: Sequence[int]) -> list[Candidate]:
    """Return pictures of a batch as the MLLM may be asked about them.

    Args:
        batch: its references are those that can be shown, see `keep_pictures`.
        look: at its n pictures.
        first: position of the batch's first picture in the input.
        rows: which of the n.
    """
    predicted = look.predicted.tolist()
    return [Candidate(first + batch.rows[row], batch.names[row], predicted[row], batch.refs[row]) for row in rows]


def compose(policy: Policy, state: AdaptationState, update: Update) -> Composition:
    """Say which texts the update's bank is to hold; the state has the answers."""
    if isinstance(update, JudgeUpdate):
        return Composition((), (), ())
    return policy.sentences(state, update) if isinstance(update, EnsUpdate) else policy.look_alikes(state, update)


@asynccontextmanager
async def open_engine(
    classes: ClassList,
    settings: Settings,
    report: BuildReport,
    load: Callable[[ProgressCallback], Awaitable[Encoder]],
    backend: Backend | None,
    spool: Spool,
    on_progress: ProgressCallback | None,
    observer: RunObservers,
    tallies: Mapping[str, Tally] | None = None,
    listeners: Sequence[Observer] = (),
) -> AsyncIterator[LearningEngine]:
    """Start CLIP and the MLLM for one run, and end them with it.

    Args:
        classes: the ID classes.
        settings: everything about them.
        report: filled on the way.
        load: returns CLIP.
        backend: an MLLM to use in place of the one that the settings name.
        spool: see `LearningEngine`.
        on_progress: told of every step.
        observer: told of pictures, answers and every step.
        tallies: see `LearningEngine`.
        listeners: told of every call to the MLLM.
    """
    with progress_reporter(settings.progress.bar, observer.beside(on_progress)) as progress, plain_errors():
        async with Coordinator(settings, backend=backend, observers=listeners) as coordinator:
            # templates before models: a mistake in one must not cost a download
            questions = Questions(settings, coordinator)
            report.templates = dict(questions.templates)
            async with ClipWorker(await load(progress), settings.text.feature_cache) as worker:
                report.model_identity = dict(coordinator.identity)
                report.run = coordinator.run
                engine = LearningEngine(
                    classes, settings, worker, questions, report, progress, spool, observer, tallies or new_tallies()
                )
                try:
                    yield engine
                finally:
                    engine.close()


async def load_clip(
    settings: Settings, encoder: Encoder | Callable[[], Encoder] | None, progress: ProgressCallback
) -> Encoder:
    """Return the given CLIP, or load the one that the settings name.

    Args:
        settings: which, and where.
        encoder: a loaded one, or a function that returns it (blocking).
        progress: told when it is loaded here.
    """
    if encoder is not None:
        # a model may be callable too
        given = hasattr(encoder, "encode_texts")
        return cast("Encoder", encoder if given else await asyncio.to_thread(cast("Callable[[], Encoder]", encoder)))
    progress(ProgressEvent("model", 0, 1))
    loaded = await asyncio.to_thread(ClipEncoder.load, settings.clip)
    progress(ProgressEvent("model", 1, 1))
    return loaded


def versions() -> dict[str, str]:
    """Return the versions of what scores depend on."""
    found = {name: version or "not installed as a package" for name, version in installed_versions(PACKAGES).items()}
    # on the CPU bits do not depend on it; elsewhere, and for a compiled tower, they may
    return found | {"torch threads": str(torch.get_num_threads())}
