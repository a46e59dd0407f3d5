"""What to ask, and what the answers make of the banks: decided on features alone, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ants_engine.detector.detector import EncodedBatch
from ants_engine.learning.candidates import Candidate
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
    counts, first = class_counts(look.predicted, len(state.class_counts), state.looked)
    return replace(
        state,
        class_counts=state.class_counts + counts,
        first_seen=torch.minimum(state.first_seen, first),
        feature_sum=state.feature_sum + look.features.double().sum(dim=0),
        looked=state.looked + len(look.predicted),
    )


def class_counts(predicted: torch.Tensor, classes: int, since: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Count predictions (N,), the first of which is at position ``since``.

    Returns:
        (C,) int64: how often each class was predicted; and its first position, the largest int64 where there is none.
    """
    first = torch.full((classes,), torch.iinfo(torch.int64).max)
    # the earliest position wins, whatever the order of the writes
    first.scatter_reduce_(0, predicted, since + torch.arange(len(predicted)), "amin")
    return torch.bincount(predicted, minlength=classes), first


def ranked_classes(
    settings: VsnlSettings, class_features: torch.Tensor, mean: torch.Tensor, counts: torch.Tensor, first: torch.Tensor
) -> tuple[int, ...]:
    """Choose the classes whose look-alikes are wanted, by ``vsnl.rule``.

    Args:
        settings: the rule and its numbers.
        class_features: (C, D).
        mean: (D,), the mean of the pictures' features.
        counts: (C,), see `class_counts`.
        first: (C,), likewise.
    """
    if settings.rule == "most_frequent":
        return tuple(most_frequent_classes(counts, first, settings.max_classes).tolist())
    return tuple(similar_classes(class_features, mean, settings.delta, settings.min_classes).tolist())


def classes_of(state: AdaptationState, settings: VsnlSettings) -> tuple[int, ...]:
    """Choose the classes by what a stream has seen so far, at least one picture."""
    mean = (state.feature_sum / state.looked).float()
    return ranked_classes(settings, state.detector.class_features, mean, state.class_counts, state.first_seen)


def looks_for_classes(state: AdaptationState, settings: VsnlSettings) -> bool:
    """Tell whether the batch after ``state`` is one at which look-alikes are looked after."""
    since = state.batch + 1 - settings.start_batch
    return since >= 0 and since % settings.interval == 0


def recompose(texts: Sequence[tuple[str, str]], old: Sequence[str]) -> Composition:
    """Reuse the rows of texts, given with their sources, that the old bank holds already."""
    rows = {text: row for row, text in enumerate(old)}
    said, sources = tuple(text for text, _ in texts), tuple(source for _, source in texts)
    return Composition(said, sources, tuple(rows.get(text) for text in said))
