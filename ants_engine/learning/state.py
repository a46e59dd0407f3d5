"""Everything that a stream has learned, as one immutable value of bounded size."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.learning.candidates import Candidates, Caption
from ants_engine.learning.rows import Rows
from ants_engine.learning.updates import Update
from ants_engine.settings.config import Settings

UNBOUNDED = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True, eq=False)
class AdaptationState:
    """The state after a batch. The next batch makes a new one; nothing in it is ever changed."""

    detector: Detector
    """Banks, weight and threshold as they are now."""
    class_counts: Tensor
    """(C,) int64: how often each class was the nearest."""
    first_seen: Tensor
    """(C,) int64: the position of the first such picture; the largest int64 where there was none."""
    feature_sum: Tensor
    """(D,) float64."""
    recent: Rows
    """(n, D): features of the latest pictures, for the threshold."""
    recent_initial: Rows
    """(n,): their S_nl."""
    recent_scores: Rows
    """(n,): the ``id_score`` that they were given."""
    candidates: Candidates
    """Paper: the history that is mined. Reference: those that wait to be described."""
    past_scores: Rows
    """(n,): S_nl of the history; reference only, and only while captions may still be asked for."""
    activation_scores: Rows
    """(n,): S_ens, for the activation threshold."""
    negatives: Tensor
    """(X, D): features of the negative images whose sentences are in the bank."""
    gamma: float
    """A picture with an initial score below it is a candidate."""
    batch: int = 0
    """Batches delivered."""
    pictures: int = 0
    """Pictures delivered, unreadable ones counted: where to go on in the input."""
    looked: int = 0
    """Pictures with features."""
    members: tuple[int, ...] = ()
    """Ids of the negative images as last asked for."""
    captions: Mapping[int, Caption] = field(default_factory=dict)
    """Candidate id → what was said of it."""
    ens_updates: int = 0
    """How often captions were asked for."""
    held: tuple[int, ...] = ()
    """Classes whose look-alikes are, or are going to be, in the bank."""
    labels: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Class → look-alikes."""
    far_sum: float = 0.0
    near_sum: float = 0.0
    """Sums of the balanced scores over ``balanced`` pictures (public code's lambda)."""
    balanced: int = 0
    pending: tuple[Update, ...] = ()
    """Asked for, not in effect yet; in the order in which they take effect."""

    @classmethod
    def cold(cls, detector: Detector, settings: Settings, *, bounded: bool = True) -> "AdaptationState":
        """Return the state before the first picture.

        Args:
            detector: its initial bank and classes are used; its other banks are emptied.
            settings: bounds, gamma, and what the ENS bank starts with.
            bounded: without it every picture is kept, however many come: a build learns from all of them.
        """
        dim, classes = detector.dim, len(detector.classes)
        keep = settings.stream.history if bounded else UNBOUNDED
        ens = NegativeBank.empty("ens", dim)
        if settings.ens.start == "lexicon" and settings.mining.rule == "histogram":
            initial = detector.initial
            ens = NegativeBank("ens", initial.texts, initial.sources, initial.features)
        bare = replace(detector, ens=ens, vsnl=NegativeBank.empty("vsnl", dim), activation=None)
        # the reference describes what waits and forgets it; it never waits long enough to be cut off
        room = keep if settings.mining.rule == "lowest_share" else UNBOUNDED
        return cls(
            detector=replace(bare, weight=start_weight(settings), threshold=start_threshold(settings)),
            class_counts=torch.zeros(classes, dtype=torch.int64),
            first_seen=torch.full((classes,), UNBOUNDED),
            feature_sum=torch.zeros(dim, dtype=torch.float64),
            recent=Rows.of(keep, dim),
            recent_initial=Rows.of(keep),
            recent_scores=Rows.of(keep),
            candidates=Candidates.of(room, dim),
            past_scores=Rows.of(settings.stream.score_history),
            activation_scores=Rows.of(settings.scoring.activation.queue_size),
            negatives=torch.empty(0, dim),
            gamma=settings.mining.gamma,
        )

    def resized(self, settings: Settings) -> "AdaptationState":
        """Return the state with every queue as long as the settings say; the latest rows stay."""
        cold = type(self).cold(self.detector, settings)
        names = ("recent", "recent_initial", "recent_scores", "past_scores", "activation_scores")
        queues: dict[str, Any] = {name: getattr(self, name).limited(getattr(cold, name).limit) for name in names}
        candidates, limit = self.candidates, cold.candidates.scores.limit
        candidates = Candidates(
            dict(list(candidates.items.items())[-limit:]),
            candidates.scores.limited(limit),
            candidates.features.limited(limit),
        )
        return replace(self, candidates=candidates, **queues)


def start_weight(settings: Settings) -> float:
    """Return lambda before anything is known; with one bank alone, all of it or nothing."""
    scoring = settings.scoring
    if scoring.in_score in ("far_only", "near_only"):
        return 1.0 if scoring.in_score == "far_only" else 0.0
    return 0.5 if isinstance(scoring.weight, str) else scoring.weight


def start_threshold(settings: Settings) -> float:
    """Return the threshold before anything is known."""
    threshold = settings.scoring.threshold
    return 0.5 if threshold == "auto" else threshold
