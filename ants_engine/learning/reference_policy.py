"""The public code's way: what waits is described once and forgotten, and the classes are the most frequent ones."""

from collections.abc import Sequence
from dataclasses import replace

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.candidates import Candidate
from ants_engine.learning.policy import Abilities, Composition, classes_of, looks_for_classes, recompose
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.updates import EnsUpdate, VsnlUpdate
from ants_engine.method.adaptive_threshold import adaptive_threshold
from ants_engine.method.labels import tidy_labels
from ants_engine.settings.config import Settings


class ReferencePolicy:
    """The order of ZhuWenjie98/ANTS: captions of all that waits when enough do, then look-alikes by a timetable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def observe(
        self, state: AdaptationState, look: EncodedBatch, candidates: Sequence[Candidate | None], abilities: Abilities
    ) -> tuple[AdaptationState, list[EnsUpdate | VsnlUpdate]]:
        """See `Policy.observe`."""
        updates: list[EnsUpdate | VsnlUpdate] = []
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
