"""Build a detector: a bounded stream whose updates come at its end, with CLIP and the MLLM working at the same time.

Source: ANTS, arXiv 2509.03951, sections 3.2 to 3.4. The arithmetic is in `ants_engine.method`, the way from pictures
to banks in `LearningEngine`. What a build does besides is policy: it asks early what is certain (look-alikes where
every class is asked for anyway, a caption as soon as no picture still to come can push its picture out of the negative
images), and it refuses to end with fewer usable answers than ``dispatch.min_success``.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from ants_engine.common.progress import ProgressEvent
from ants_engine.detector.detector import Detector, EncodedBatch
from ants_engine.errors import NoImagesError
from ants_engine.learning.answers import ENDS_A_BUILD
from ants_engine.learning.engine import LearningEngine, candidates_of, compose
from ants_engine.learning.initial_detector import class_features, initial_detector
from ants_engine.learning.pictures import PictureBatch, Pictures
from ants_engine.learning.policy import PaperPolicy, sample_due, to_describe
from ants_engine.learning.run_observer import FirstLook, RunStart
from ants_engine.learning.state import (
    UNBOUNDED,
    AdaptationState,
    Candidate,
    EnsUpdate,
    JudgeUpdate,
    Rows,
    Update,
    VsnlUpdate,
)
from ants_engine.method.judge import Reservoir, spread_sample
from ants_engine.method.mining import CertainNegatives, similar_class_count

SPREAD = 4
"""The judge's sample is chosen, spread over the scores, among so many times as many random pictures."""


class Build:
    """One build by the paper's policy: what it has learned so far, and the questions under way."""

    def __init__(self, engine: LearningEngine) -> None:
        """Prepare."""
        self._engine = engine
        self._settings = engine.settings
        self._report = engine.report
        self._policy = PaperPolicy(engine.settings)
        self._asker = engine.asker(bounded=True, ends_run=ENDS_A_BUILD)
        mining = engine.settings.mining
        self._certain = CertainNegatives(mining.gamma, mining.eta, mining.max_images)
        self._low: dict[int, Candidate] = {}
        """By its place among the pictures that could be read: every picture below gamma."""
        self._judges, self._features_only = engine.judges, False
        self._reservoir = Reservoir(SPREAD * engine.settings.threshold.questions, engine.settings.seed)
        self._sampled: dict[int, tuple[int, Candidate]] = {}
        """Pictures that the judge may be asked about, by position: place among the readable ones, and the picture."""
        self._early: list[Update] = []
        self._described = Rows.of(UNBOUNDED, engine.worker.encoder.dim)
        """Features of the pictures that are being described."""
        self._alike: set[int] = set()
        """Ids of those that are not described because they look like one that is."""

    async def run(self, pictures: Pictures) -> AdaptationState:
        """Return the finished detector, with the history that a stream can go on from.

        Raises:
            ClassListError: a class text is longer than CLIP's text context, or the lexicon holds only ID names.
            NoImagesError: no picture could be used.
            NotEnoughAnswersError: fewer usable answers than ``dispatch.min_success``.
            StoreError: a replay misses an answer, or the store cannot be used.
        """
        engine, gamma = self._engine, self._settings.mining.gamma
        self._features_only = pictures.features_only
        engine.observer.began(RunStart("build", engine.classes.names, pictures.total, self._settings, gamma))
        async with asyncio.TaskGroup() as group:
            detector = await self._initial_detector(group)
            state = await self._look_at(pictures, detector, group)
            state, updates = await engine.aside(self._decide, state)
            for update in updates:
                self._asker.ask(update, group)
            waiting = time.monotonic()
            # leaving the group waits for every answer
        self._report.seconds["waiting for the MLLM"] = time.monotonic() - waiting
        self._report.cost = engine.questions.spent.cost
        engine.observer.stands(*engine.questions.standing)
        with self._timed("negatives"):
            return await self._learn(state, updates)

    async def _initial_detector(self, group: asyncio.TaskGroup) -> Detector:
        """Stage 1: ID classes and the negatives mined from the lexicon."""
        engine, vsnl, classes = self._engine, self._settings.vsnl, len(self._engine.classes)
        with self._timed("classes"):
            features = await class_features(engine.classes, engine.worker)
        every = vsnl.rule == "mean_cosine" and similar_class_count(classes, vsnl.delta, vsnl.min_classes) == classes
        if every and engine.abilities.words:
            # nothing has to be known of the pictures
            self._ask_early(VsnlUpdate(0, tuple(range(classes)), ()), group)
        with self._timed("lexicon"):
            return await initial_detector(
                engine.classes, features, self._settings, engine.worker, self._report, engine.progress
            )

    async def _look_at(self, pictures: Pictures, detector: Detector, group: asyncio.TaskGroup) -> AdaptationState:
        """Encode and score every picture; ask for the captions that are certain to be needed."""
        engine = self._engine
        state = AdaptationState.cold(detector, self._settings, bounded=False)
        first_failure = None
        with self._timed("pictures"):
            async for batch in pictures.batches(engine.worker, self._settings, self._settings.clip.batch_size):
                look = await engine.aside(detector.look, batch.features)
                before = state.looked
                positions = [state.pictures + row for row in batch.rows]
                sample = self._reservoir.offer(positions) if self._judges else []
                state, candidates = await engine.aside(engine.observe, state, batch, look, True, sample)
                self._keep(sample, batch, look, state.pictures, before)
                state = replace(state, pictures=state.pictures + batch.size)
                self._low |= {before + row: item for row, item in enumerate(candidates) if item is not None}
                first_failure = next(iter(batch.failures), None) if first_failure is None else first_failure
                engine.observer.looked(FirstLook.of(batch, look, state.gamma))
                engine.progress(ProgressEvent("pictures", state.pictures, pictures.total))
                remaining = -1 if pictures.total is None else pictures.total - state.pictures
                # else the number of pictures is unknown, or what the user's container said of it was wrong
                early = self._settings.mining.describe is None and engine.abilities.pictures
                if remaining >= 0 and state.looked and early:
                    await self._ask_certain(state, self._certain.add(look.initial, remaining), group)
        self._report.pictures = state.looked
        if not state.looked:
            raise NoImagesError(
                f"none of the {state.pictures} pictures can be used, first: {first_failure}"
                if first_failure is not None
                else "there are no pictures to learn from"
            )
        return state

    def _keep(self, sample: Sequence[int], batch: PictureBatch, look: EncodedBatch, first: int, before: int) -> None:
        """Keep the pictures of a batch that are in the reservoir, and let go of those that have left it."""
        for row, item in zip(sample, candidates_of(batch, look, first, sample), strict=True):
            self._sampled[item.id] = before + row, item
        kept = self._reservoir.positions
        self._sampled = {position: found for position, found in self._sampled.items() if position in kept}

    def _judge(self, state: AdaptationState, described: Iterable[Candidate]) -> JudgeUpdate:
        """Choose the judge's sample, spread over the range of the lexicon's votes."""
        held = sorted(self._sampled.items())
        places = [place for _, (place, _) in held]
        votes, ids = state.recent_votes.take(places), [str(position) for position, _ in held]
        chosen = spread_sample(votes, ids, self._settings.threshold.questions, self._settings.seed)
        items = [held[row][1][1] for row in chosen]
        known = {item.id for item in described}
        asked = tuple(item for item in items if item.id not in known and item.ref is not None)
        features = state.recent.take([places[row] for row in chosen])
        return JudgeUpdate(0, asked, tuple(item.id for item in items), features)

    async def _ask_certain(self, state: AdaptationState, rows: Sequence[int], group: asyncio.TaskGroup) -> None:
        """Ask about pictures that will be among the negative images, whatever comes."""
        # a picture that cannot be shown is not compared either
        rows = [row for row in rows if self._low[row].ref is not None]
        if not rows:
            return
        features = state.recent.take(rows)
        described = self._described.tensor()
        wanted = await self._engine.aside(to_describe, features, described, self._settings.mining)
        features = features[torch.tensor(wanted)]
        self._described = self._described.append(features)
        items = tuple(self._low[row] for row in rows)
        self._alike |= {item.id for item, new in zip(items, wanted, strict=True) if not new}
        asked = tuple(item for item, new in zip(items, wanted, strict=True) if new)
        self._ask_early(EnsUpdate(0, asked, tuple(item.id for item in asked), features), group)

    def _ask_early(self, update: Update, group: asyncio.TaskGroup) -> None:
        self._asker.ask(update, group)
        self._early.append(update)

    def _decide(self, state: AdaptationState) -> tuple[AdaptationState, list[Update]]:
        """Stages 2 to 4: the negative images, and the classes that the pictures look like."""
        engine, notes, classes = self._engine, self._report.notes, self._engine.classes
        rows = list(self._low)
        found = state.candidates.append(
            list(self._low.values()), state.recent_initial.tensor()[rows], state.recent.tensor()[rows]
        )
        # one sum over all pictures: it does not depend on the size of batches
        total = state.recent.tensor().double().sum(dim=0)
        state = replace(state, candidates=found.described(self._alike), feature_sum=total, pending=tuple(self._early))
        updates: list[Update] = []
        state, mined = self._policy.mine(state, engine.abilities, complete=True)
        updates += [] if mined is None else [mined]
        self._report.candidates = len(found)
        self._report.negative_images = len(state.members)
        self._report.near_duplicates = len(self._alike) + (0 if mined is None else mined.alike)
        if state.members:
            scores = dict(zip(found.items, found.scores.tensor().tolist(), strict=True))
            self._report.gamma_star = scores[state.members[-1]]
        captions = [
            item for update in (*self._early, *updates) if isinstance(update, EnsUpdate) for item in update.asked
        ]
        state = replace(state, ens_updates=1 if captions else 0)
        if self._judges:
            updates.append(self._judge(state, captions))
            state = replace(state, sampled=max(len(updates[-1].members), sample_due(state.looked, self._settings)))
        notes += engine.notes_on_judge(features_only=self._features_only)
        if not state.members:
            notes.append(f"no picture scored below gamma {state.gamma}: nothing looks unknown, S_nl stands in")
        elif not engine.abilities.pictures:
            notes.append("this MLLM takes no pictures: there are no sentences, look-alikes only")
        elif not captions:
            notes.append("only features were given: there are no pictures to describe, look-alikes only")
        if not engine.abilities.words:
            notes.append("this MLLM cannot be asked without a picture: there are no look-alikes")
            return state, updates
        if not classes.own_template:
            notes.append(
                "the ID classes' prompts have no template in common: look-alikes and lexicon are written with "
                f"text.class_template {classes.template!r}"
            )
        state, similar = self._policy.find_similar(state)
        updates += [] if similar is None else [similar]
        self._report.similar_classes = tuple(classes.names[index] for index in state.held)
        return state, updates

    async def _learn(self, state: AdaptationState, updates: Sequence[Update]) -> AdaptationState:
        """Stages 3 to 6: the answers, the two banks, lambda and the threshold."""
        engine, report = self._engine, self._report
        state = replace(state, pending=(*self._early, *updates))
        for update in state.pending:
            state = await engine.read(state, update, self._asker)
        state = replace(state, pending=())
        composed = [
            (update, await engine.aside(compose, self._policy, state, update))
            for update in updates
            if not isinstance(update, JudgeUpdate)
        ]
        texts = {"ens": 0, "vsnl": 0}
        for update, composition in composed:
            texts["ens" if isinstance(update, EnsUpdate) else "vsnl"] = len(composition.texts)
            report.put_aside(*composition.left_out)
        for task, tally in engine.tallies.items():
            await engine.aside(tally.check, self._settings.dispatch.min_success)
            if tally.asked and not texts[task]:
                shown = f" ({tally.verified} pictures were confirmed to show a known class)" if tally.verified else ""
                report.notes.append(f"{task}: no text came of {tally.asked} answers{shown}; the bank is empty")
            report.notes += await engine.aside(tally.notes)
        report.ens_texts, report.vsnl_texts = texts["ens"], texts["vsnl"]
        total = sum(texts.values())
        engine.progress(ProgressEvent("negatives", 0, total))
        for update, composition in composed:
            state = await engine.fill(state, update, composition)
        engine.progress(ProgressEvent("negatives", total, total))
        return await engine.aside(self._settled, state)

    def _settled(self, state: AdaptationState) -> AdaptationState:
        """Find lambda and the threshold from all pictures, and keep as many as a stream does."""
        state = self._engine.settle(state, complete=True).resized(self._settings)
        self._report.judged = self._engine.judged
        # what has left the history is forgotten, as in a stream: the banks hold its texts, nothing asks for it again
        kept = [place for place, member in enumerate(state.members) if member in state.candidates.items]
        return replace(
            state,
            negatives=state.negatives[kept],
            members=tuple(state.members[place] for place in kept),
            captions={key: caption for key, caption in state.captions.items() if key in state.candidates.items},
        )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._report.seconds[stage] = time.monotonic() - started
