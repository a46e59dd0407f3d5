"""The paper's way: mining is repeated over the whole history, and the banks are what the history now says."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.answers import NegativeTexts
from ants_engine.learning.candidates import Candidate, Candidates
from ants_engine.learning.policy import Abilities, Composition, classes_of, looks_for_classes, recompose
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.updates import EnsUpdate, VsnlUpdate
from ants_engine.method.mining import mine_negative_images
from ants_engine.method.near_duplicates import unlike
from ants_engine.settings.config import MiningSettings, Settings


class PaperPolicy:
    """Sections 3.2 to 3.4 of the paper, again with every batch.

    The history is the latest ``stream.history`` candidates. As long as it holds all of them, the banks after the last
    batch are those that a build on the same pictures makes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def observe(
        self, state: AdaptationState, look: EncodedBatch, candidates: Sequence[Candidate | None], abilities: Abilities
    ) -> tuple[AdaptationState, list[EnsUpdate | VsnlUpdate]]:
        """See `Policy.observe` (eq. 5, 6, 10)."""
        updates: list[EnsUpdate | VsnlUpdate] = []
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

    def mine(self, state: AdaptationState, abilities: Abilities) -> tuple[AdaptationState, EnsUpdate | None]:
        """Mine the negative images anew; return what is to be asked, or None where they are the same as before."""
        mining, history = self._settings.mining, state.candidates
        mined = mine_negative_images(history.scores.tensor(), mining.gamma, mining.eta, mining.max_images)
        ids = list(history.items)
        members = tuple(ids[row] for row in mined.indices.tolist())
        if members == state.members:
            return state, None
        known = set(state.captions).union(
            *([item.id for item in update.asked] for update in state.pending if isinstance(update, EnsUpdate))
        )
        asked = tuple(
            history.items[member]
            for member in members
            if member not in known and history.items[member].ref is not None and abilities.pictures
        )
        wanted = len(asked)
        history, asked = self._each_once(history, asked, known)
        # what has left the history, and every update under way, is not needed any more
        needed = set(history.items).union(
            *(update.members for update in state.pending if isinstance(update, EnsUpdate))
        )
        captions = {key: caption for key, caption in state.captions.items() if key in needed}
        updates = state.ens_updates + (1 if asked else 0)
        state = replace(state, candidates=history, members=members, captions=captions, ens_updates=updates)
        features = history.features.tensor()[mined.indices]
        return state, EnsUpdate(0, asked, members, features, alike=wanted - len(asked))

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
