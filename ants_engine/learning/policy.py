"""What to ask, and what the answers make of the banks: decided on features alone, batch by batch.

`PaperPolicy` mines the whole history again with every batch; `ReferencePolicy` does what the public code does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.answers import NegativeTexts
from ants_engine.learning.report import SetAside
from ants_engine.learning.state import AdaptationState, Candidate, Candidates, EnsUpdate, Update, VsnlUpdate
from ants_engine.method.labels import tidy_labels
from ants_engine.method.mining import (
    adaptive_threshold,
    mine_negative_images,
    most_frequent_classes,
    similar_classes,
    unlike,
)
from ants_engine.method.spread import EpsilonNet, farthest_first, share_to_describe
from ants_engine.settings.config import MiningSettings, Settings, VsnlSettings

JUDGED_BY = 1000
"""Pictures of a stream by which the judge has been asked all of ``threshold.questions``."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this MLLM can be asked."""

    pictures: bool
    """It can be shown a picture."""
    words: bool
    """It can be asked without one."""


@dataclass(frozen=True, slots=True)
class Composition:
    """What a bank is to hold, in order."""

    texts: tuple[str, ...]
    sources: tuple[str, ...]
    rows: tuple[int | None, ...]
    """Per text: its row in the bank that it replaces, or None where it has to be encoded."""
    left_out: tuple[SetAside, ...] = ()
    """Good texts that it has no use for."""


class Policy(Protocol):
    """One way to adapt: the paper's, or its public code's."""

    def observe(
        self, state: AdaptationState, look: EncodedBatch, candidates: Sequence[Candidate | None], abilities: Abilities
    ) -> tuple[AdaptationState, list[Update]]:
        """Take a batch into the history; return the new state and what it asks for, due in this very batch.

        Args:
            state: after the batch before, with this batch's pictures counted by class.
            look: N pictures.
            candidates: per picture, a candidate, or None where its score is not below gamma.
            abilities: questions that cannot be asked are not among the updates.
        """
        ...

    def describes(self, state: AdaptationState) -> bool:
        """Tell whether a picture of the next batch may have to be described."""
        ...

    def sentences(self, state: AdaptationState, update: EnsUpdate) -> Composition:
        """Say what the ENS bank is to hold; the state has the captions of this update."""
        ...

    def look_alikes(self, state: AdaptationState, update: VsnlUpdate) -> Composition:
        """Say what the VSNL bank is to hold; the state has the labels of this update."""
        ...


def count_classes(state: AdaptationState, look: EncodedBatch) -> AdaptationState:
    """Count the predictions of a batch, and sum its features."""
    classes, predicted = len(state.class_counts), look.predicted
    # the earliest position wins, whatever the order of the writes
    positions = state.looked + torch.arange(len(predicted))
    return replace(
        state,
        class_counts=state.class_counts + torch.bincount(predicted, minlength=classes),
        first_seen=state.first_seen.scatter_reduce(0, predicted, positions, "amin"),
        feature_sum=state.feature_sum + look.features.double().sum(dim=0),
        looked=state.looked + len(predicted),
    )


def classes_of(state: AdaptationState, settings: VsnlSettings) -> tuple[int, ...]:
    """Choose the classes whose look-alikes are wanted, by ``vsnl.rule``; at least one picture has been seen."""
    if settings.rule == "most_frequent":
        return tuple(most_frequent_classes(state.class_counts, state.first_seen, settings.max_classes).tolist())
    mean = (state.feature_sum / state.looked).float()
    ranked = similar_classes(state.detector.class_features, mean, settings.delta, settings.min_classes)
    return tuple(ranked.tolist())


def sample_due(seen: int, settings: Settings) -> int:
    """Return how many pictures the judge is asked about by the time that a stream has seen so many."""
    # quickly to the full number, then as many again with each history
    quick, slow = min(seen, JUDGED_BY) / JUDGED_BY, max(0, seen - JUDGED_BY) / settings.stream.history
    return int(settings.threshold.questions * (quick + slow))


def looks_for_classes(state: AdaptationState, settings: VsnlSettings) -> bool:
    """Tell whether the batch after ``state`` is one at which look-alikes are looked after."""
    since = state.batch + 1 - settings.start_batch
    return since >= 0 and since % settings.interval == 0


def recompose(texts: Sequence[tuple[str, str]], old: Sequence[str], left_out: Sequence[SetAside] = ()) -> Composition:
    """Reuse the rows of texts, given with their sources, that the old bank holds already."""
    rows = {text: row for row, text in enumerate(old)}
    said, sources = tuple(text for text, _ in texts), tuple(source for _, source in texts)
    return Composition(said, sources, tuple(rows.get(text) for text in said), tuple(left_out))


class PaperPolicy:
    """Sections 3.2 to 3.4 of the paper, again with every batch.

    The history is the latest ``stream.history`` candidates. As long as it holds all of them, the banks after the last
    batch are those that a build on the same pictures makes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def observe(
        self, state: AdaptationState, look: EncodedBatch, candidates: Sequence[Candidate | None], abilities: Abilities
    ) -> tuple[AdaptationState, list[Update]]:
        """See `Policy.observe` (eq. 5, 6, 10)."""
        updates: list[Update] = []
        rows = [row for row, candidate in enumerate(candidates) if candidate is not None]
        if rows:
            more = [candidate for candidate in candidates if candidate is not None]
            history = state.candidates.append(more, look.initial[rows], look.features[rows])
            state, update = self.mine(replace(state, candidates=history), abilities)
            updates += [update] if update is not None else []
        if abilities.words and state.looked and looks_for_classes(state, self._settings.vsnl):
            state, similar = self.find_similar(state)
            updates += [similar] if similar is not None else []
        return state, updates

    def describes(self, state: AdaptationState) -> bool:
        """See `Policy.describes`."""
        return True

    def sentences(self, state: AdaptationState, update: EnsUpdate) -> Composition:
        """See `Policy.sentences` (eq. 7): those of all negative images, lowest score first."""
        found = NegativeTexts()
        for caption in (state.captions[member] for member in update.members if member in state.captions):
            if caption.text is not None:
                found.keep(caption.text, caption.source, self._settings.ens.bank_size)
        return recompose(found.kept(), state.detector.ens.texts, found.set_aside)

    def look_alikes(self, state: AdaptationState, update: VsnlUpdate) -> Composition:
        """See `Policy.look_alikes` (eq. 11): those of the classes, most similar class first."""
        found = NegativeTexts()
        for member in update.members:
            for label in state.labels.get(member, ()):
                found.keep(label, state.detector.classes.names[member])
        return recompose(found.kept(), state.detector.vsnl.texts, found.set_aside)

    def mine(
        self, state: AdaptationState, abilities: Abilities, *, complete: bool = False
    ) -> tuple[AdaptationState, EnsUpdate | None]:
        """Mine the negative images anew; return what is to be asked, or None where they are the same as before.

        Args:
            state: with the candidates.
            abilities: of the MLLM.
            complete: these are all the candidates there are: which of them are described is decided once for all.
        """
        mining, history = self._settings.mining, state.candidates
        mined = mine_negative_images(history.scores.tensor(), mining.gamma, mining.eta, mining.max_images)
        ids = list(history.items)
        members = tuple(ids[row] for row in mined.indices.tolist())
        if members == state.members:
            return state, None
        known = set(state.captions).union(
            *([item.id for item in update.asked] for update in state.pending if not isinstance(update, VsnlUpdate))
        )
        asked = tuple(
            history.items[member]
            for member in members
            if member not in known and history.items[member].ref is not None and abilities.pictures
        )
        wanted = len(asked)
        history, asked = self._each_once(history, asked, known)
        alike = wanted - len(asked)
        state, history, asked = self._spread(state, history, asked, complete=complete)
        # what has left the history, and every update under way, is not needed any more
        needed = set(history.items).union(
            *(update.members for update in state.pending if isinstance(update, EnsUpdate))
        )
        captions = {key: caption for key, caption in state.captions.items() if key in needed}
        updates = state.ens_updates + (1 if asked else 0)
        state = replace(state, candidates=history, members=members, captions=captions, ens_updates=updates)
        features = history.features.tensor()[mined.indices]
        return state, EnsUpdate(0, asked, members, features, alike=alike)

    def _each_once(
        self, history: Candidates, asked: tuple[Candidate, ...], known: set[int]
    ) -> tuple[Candidates, tuple[Candidate, ...]]:
        """Leave out what looks like a picture that is known, for good: it is let go of."""
        if self._settings.mining.same_picture is None or not asked:
            return history, asked
        row_of = {key: row for row, key in enumerate(history.items)}
        features = history.features.tensor()
        described = features[[row for key, row in row_of.items() if key in known]]
        new = to_describe(features[[row_of[item.id] for item in asked]], described, self._settings.mining)
        again = [item.id for item, wanted in zip(asked, new, strict=True) if not wanted]
        return history.described(again), tuple(item for item, wanted in zip(asked, new, strict=True) if wanted)

    def _spread(
        self, state: AdaptationState, history: Candidates, asked: tuple[Candidate, ...], *, complete: bool
    ) -> tuple[AdaptationState, Candidates, tuple[Candidate, ...]]:
        """Leave out, for good, what looks most like what is described, where only a share is to be described."""
        mining = self._settings.mining
        if mining.describe is None or not asked:
            return state, history, asked
        row_of = {key: row for row, key in enumerate(history.items)}
        features = history.features.tensor()[[row_of[item.id] for item in asked]]
        least, most = mining.describe_least, self._settings.ens.bank_size
        if complete:
            count = share_to_describe(len(asked), mining.describe, least, most)
            chosen = set(farthest_first(features, count).tolist())
            net = EpsilonNet(features[sorted(chosen)][-most:], seen=len(asked), chosen=len(chosen))
        else:
            net, taken = state.net.choose(features, share=mining.describe, least=least, most=most)
            chosen = set(torch.nonzero(taken).flatten().tolist())
        again = [item.id for row, item in enumerate(asked) if row not in chosen]
        kept = tuple(item for row, item in enumerate(asked) if row in chosen)
        return replace(state, net=net), history.described(again), kept

    def find_similar(self, state: AdaptationState) -> tuple[AdaptationState, VsnlUpdate | None]:
        """Choose the classes anew; return whose look-alikes are to be asked for, or None where nothing changes."""
        ranked = classes_of(state, self._settings.vsnl)
        known = set(state.labels).union(*(update.asked for update in state.pending if isinstance(update, VsnlUpdate)))
        asked = tuple(index for index in ranked if index not in known)
        # a class whose question met an outage has no entry, and is asked for again
        if set(ranked) == set(state.held) and not asked:
            return state, None
        return replace(state, held=ranked), VsnlUpdate(0, asked, ranked)


def to_describe(features: Tensor, described: Tensor, settings: MiningSettings) -> list[bool]:
    """Decide which of n negative images the MLLM is asked about, in a build and in a stream.

    Args:
        features: (n, D), the lowest score first.
        described: (K, D) of the pictures that are described, or are going to be.
        settings: ``same_picture``: no near-duplicate of another is described.
    """
    if settings.same_picture is None:
        return [True] * len(features)
    return unlike(features, described, settings.same_picture)


class ReferencePolicy:
    """The order of ZhuWenjie98/ANTS: captions of all that waits when enough do, then look-alikes by a timetable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def observe(
        self, state: AdaptationState, look: EncodedBatch, candidates: Sequence[Candidate | None], abilities: Abilities
    ) -> tuple[AdaptationState, list[Update]]:
        """See `Policy.observe`."""
        updates: list[Update] = []
        if not self._finished(state):
            rows = [row for row, candidate in enumerate(candidates) if candidate is not None]
            more = [candidate for candidate in candidates if candidate is not None]
            state = replace(
                state,
                past_scores=state.past_scores.append(look.initial),
                candidates=state.candidates.append(more, look.initial[rows], look.features[rows]),
            )
            if len(state.candidates) > self._settings.mining.min_waiting:
                state, update = self._describe(state, abilities)
                updates.append(update)
        if abilities.words and state.looked and looks_for_classes(state, self._settings.vsnl):
            top = classes_of(state, self._settings.vsnl)
            new = tuple(index for index in top if index not in state.held)
            # those asked for earlier keep their place; what left the top is forgotten and would be asked for again
            held = (*(index for index in state.held if index in top), *new)
            state = replace(state, held=held)
            updates.append(VsnlUpdate(0, new, held))
        return state, updates

    def describes(self, state: AdaptationState) -> bool:
        """See `Policy.describes`: not after the last update."""
        return not self._finished(state)

    def sentences(self, state: AdaptationState, update: EnsUpdate) -> Composition:
        """See `Policy.sentences`: new ones in front of the queue, each once among themselves."""
        found = [state.captions[item.id] for item in update.asked if item.id in state.captions]
        said = [(caption.text, caption.source) for caption in found if caption.text is not None]
        new = tidy_labels(text for text, _ in said)
        source_of = _sources(said)
        ens, old = self._settings.ens, state.detector.ens
        texts = (*new, *old.texts)
        sources = (*(source_of[text.casefold()] for text in new), *old.sources)
        rows = (*(None for _ in new), *range(len(old)))
        # cutting off the front loses what has just come: a defect of the public code
        kept = slice(-ens.bank_size, None) if ens.queue_overflow == "drop_newest" else slice(ens.bank_size)
        return Composition(texts[kept], sources[kept], rows[kept])

    def look_alikes(self, state: AdaptationState, update: VsnlUpdate) -> Composition:
        """See `Policy.look_alikes`: in the order in which the classes were asked for."""
        names = state.detector.classes.names
        labels = [(label, names[member]) for member in update.members for label in state.labels.get(member, ())]
        source_of = _sources(labels)
        texts = tidy_labels(label for label, _ in labels)
        return recompose([(text, source_of[text.casefold()]) for text in texts], state.detector.vsnl.texts)

    def _finished(self, state: AdaptationState) -> bool:
        most = self._settings.ens.max_updates
        return most is not None and state.ens_updates >= most

    def _describe(self, state: AdaptationState, abilities: Abilities) -> tuple[AdaptationState, EnsUpdate]:
        waiting = state.candidates
        items = tuple(waiting.items.values())
        update = EnsUpdate(
            0,
            tuple(item for item in items if item.ref is not None and abilities.pictures),
            tuple(waiting.items),
            waiting.features.tensor(),
        )
        gamma = adaptive_threshold(state.past_scores.tensor(), self._settings.mining.eta).threshold
        state = replace(
            state,
            gamma=gamma,
            candidates=waiting.cleared(),
            members=update.members,
            captions={},
            ens_updates=state.ens_updates + 1,
        )
        if self._finished(state):
            # nothing will ask for them any more
            state = replace(state, past_scores=replace(state.past_scores, chunks=()))
        return state, update


def _sources(texts: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return who first said each tidied text, ignoring case."""
    first: dict[str, str] = {}
    for text, source in texts:
        for tidy in tidy_labels([text]):
            first.setdefault(tidy.casefold(), source)
    return first


def choose_policy(settings: Settings) -> Policy:
    """Return the policy that the settings name."""
    return PaperPolicy(settings) if settings.mining.rule == "lowest_share" else ReferencePolicy(settings)
