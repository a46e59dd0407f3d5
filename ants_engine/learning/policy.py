"""What to ask, and what the answers make of the banks: decided on features alone, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.candidates import Candidate
from ants_engine.learning.report import SetAside
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.updates import EnsUpdate, VsnlUpdate
from ants_engine.method.similar_classes import most_frequent_classes, similar_classes
from ants_engine.settings.config import VsnlSettings


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
    ) -> tuple[AdaptationState, list[EnsUpdate | VsnlUpdate]]:
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


def looks_for_classes(state: AdaptationState, settings: VsnlSettings) -> bool:
    """Tell whether the batch after ``state`` is one at which look-alikes are looked after."""
    since = state.batch + 1 - settings.start_batch
    return since >= 0 and since % settings.interval == 0


def recompose(texts: Sequence[tuple[str, str]], old: Sequence[str], left_out: Sequence[SetAside] = ()) -> Composition:
    """Reuse the rows of texts, given with their sources, that the old bank holds already."""
    rows = {text: row for row, text in enumerate(old)}
    said, sources = tuple(text for text, _ in texts), tuple(source for _, source in texts)
    return Composition(said, sources, tuple(rows.get(text) for text in said), tuple(left_out))
