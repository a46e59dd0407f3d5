"""What a stream or a build has learned, as immutable values of bounded size: rows, candidates, updates, the state."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.method.spread import EpsilonNet
from ants_engine.method.verified import MOST, VerifiedPictures
from ants_engine.settings.config import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """At most ``limit`` rows, the latest ones, in order. Appending makes a new value and copies little.

    Chunks are merged when a younger one has grown to half of its elder, so that there are few, and a row is copied a
    logarithmic number of times, however small the batches are.
    """

    limit: int
    empty: Tensor
    """(0, …): the shape and dtype of the rows."""
    chunks: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, limit: int, *shape: int, dtype: torch.dtype = torch.float32) -> "Rows":
        """Return an empty queue of rows of the given shape."""
        return cls(limit, torch.empty(0, *shape, dtype=dtype))

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(chunk) for chunk in self.chunks)

    def append(self, rows: Tensor) -> "Rows":
        """Return the queue with more rows, without the oldest ones where it is full."""
        rows = rows[max(0, len(rows) - self.limit) :].to(self.empty.dtype)
        chunks = [*self.chunks, _own(rows)] if len(rows) else list(self.chunks)
        while len(chunks) > 1 and len(chunks[-2]) < 2 * len(chunks[-1]):
            chunks[-2:] = [torch.cat(chunks[-2:])]
        extra = sum(len(chunk) for chunk in chunks) - self.limit
        while extra > 0:
            first = chunks[0]
            chunks[:1] = [_own(first[extra:])] if extra < len(first) else []
            extra -= len(first)
        return replace(self, chunks=tuple(chunks))

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return some rows (n, …), without putting all of them together."""
        starts = list(accumulate((len(chunk) for chunk in self.chunks), initial=0))
        parts = [bisect_right(starts, row) - 1 for row in rows]
        found = [self.chunks[part][row - starts[part]] for part, row in zip(parts, rows, strict=True)]
        return torch.stack(found) if found else self.empty

    def limited(self, limit: int) -> "Rows":
        """Return the queue with another limit; the latest rows stay."""
        return self if self.limit == limit else replace(self, limit=limit, chunks=()).append(self.tensor())

    def tensor(self) -> Tensor:
        """Return all rows (n, …), oldest first."""
        if not self.chunks:
            return self.empty
        return self.chunks[0] if len(self.chunks) == 1 else torch.cat(self.chunks)


def _own(rows: Tensor) -> Tensor:
    """Return rows that do not keep a much larger tensor in memory."""
    return rows.clone() if rows.untyped_storage().nbytes() > 2 * rows.numel() * rows.element_size() else rows


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture with an initial score below gamma."""

    id: int
    """Its position in the stream."""
    name: str
    predicted: int
    """The ID class that CLIP took it for."""
    ref: ImageRef | None
    """Where the MLLM can be shown it; None where only features were given."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What the MLLM said of a candidate."""

    text: str | None
    """None where there is nothing to be had."""
    source: str
    """The picture's name."""
    is_id: bool | None = None
    """Whether it shows an ID class, as far as the MLLM was asked and could say."""


@dataclass(frozen=True, slots=True, eq=False)
class AskedPictures:
    """Pictures that the MLLM was asked to verify, the latest ones, and what it said of each."""

    features: Rows
    """(n, D) float32."""
    votes: Rows
    """(n,) float32: the lexicon's vote z_L."""
    answers: Rows
    """(n,): 1 for a picture of an ID class, 0 for another."""
    sampled: Rows
    """(n,): 1 for a picture of the judge's random sample, 0 for a negative image."""
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, limit: int, dim: int) -> "AskedPictures":
        """Return none, with room for ``limit``."""
        return cls(Rows.of(limit, dim), Rows.of(limit), Rows.of(limit), Rows.of(limit))

    def __len__(self) -> int:
        """Return n."""
        return len(self.names)

    def append(
        self, features: Tensor, votes: Tensor, answers: Sequence[bool], names: Sequence[str], *, sampled: bool
    ) -> "AskedPictures":
        """Return these and more, without the oldest ones where there are too many."""
        if not names:
            return self
        return AskedPictures(
            self.features.append(features),
            self.votes.append(votes),
            self.answers.append(torch.tensor(answers, dtype=torch.float32)),
            self.sampled.append(torch.full((len(names),), float(sampled))),
            (*self.names, *names)[-self.votes.limit :],
        )

    def verified(self) -> VerifiedPictures:
        """Return them as witnesses, with the names of those that were confirmed."""
        yes = self.answers.tensor() > 0.5
        names = [name for name, said in zip(self.names, yes.tolist(), strict=True) if said]
        found = VerifiedPictures.of(self.features.tensor(), yes)
        return replace(found, names=tuple(names[len(names) - len(found.confirmed) :]))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The latest candidates, oldest first; a new value at every change."""

    items: Mapping[int, Candidate]
    scores: Rows
    """(n,) float32 S_nl."""
    features: Rows
    """(n, D) float32."""

    @classmethod
    def of(cls, limit: int, dim: int) -> "Candidates":
        """Return none, with room for ``limit``."""
        return cls({}, Rows.of(limit), Rows.of(limit, dim))

    def __len__(self) -> int:
        """Return n."""
        return len(self.items)

    def append(self, more: Sequence[Candidate], scores: Tensor, features: Tensor) -> "Candidates":
        """Return these and more, without the oldest ones where there are too many."""
        if not more:
            return self
        items = [*self.items.values(), *more][-self.scores.limit :]
        return Candidates({item.id: item for item in items}, self.scores.append(scores), self.features.append(features))

    def described(self, ids: Iterable[int]) -> "Candidates":
        """Return the same; the pictures of these ids, present or not, are let go of: nobody will look at them again."""
        items = dict(self.items)
        for key in ids:
            if key in items:
                items[key] = replace(items[key], ref=None)
        return replace(self, items=items)

    def cleared(self) -> "Candidates":
        """Return none, with the same room."""
        return Candidates({}, replace(self.scores, chunks=()), replace(self.features, chunks=()))


@dataclass(frozen=True, slots=True, eq=False)
class EnsUpdate:
    """Sentences of negative images."""

    due: int
    """The batch (from 1) at which it takes effect."""
    asked: tuple[Candidate, ...]
    """Pictures whose captions are asked for."""
    members: tuple[int, ...]
    """Ids of all negative images, whose sentences make the bank, lowest score first."""
    features: Tensor
    """(X, D) of the same pictures, for lambda."""
    alike: int = 0
    """Members that are never asked for, as of this update, because they look like one that is."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgeUpdate:
    """The judge's answers about a random sample of the pictures."""

    due: int
    asked: tuple[Candidate, ...]
    """Pictures that are asked about; those of the sample that a caption is asked for anyway are not among them."""
    members: tuple[int, ...]
    """Ids of all pictures of the sample."""
    features: Tensor
    """(K, D) of the same pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class VsnlUpdate:
    """Look-alikes of classes."""

    due: int
    asked: tuple[int, ...]
    """Classes whose look-alikes are asked for."""
    members: tuple[int, ...]
    """All classes whose look-alikes make the bank, in order."""


Update = EnsUpdate | VsnlUpdate | JudgeUpdate


ASKED = 2 * MOST
"""Pictures that the MLLM was asked to verify and that are kept."""
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
    recent_votes: Rows
    """(n,): the lexicon's votes z_L of the same pictures; empty where nothing is pooled."""
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
    asked: AskedPictures
    """With a template that verifies: what the MLLM said of pictures."""
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
    net: EpsilonNet = field(default_factory=EpsilonNet)
    """Which negative images of a stream are described, where only a share is."""
    sampled: int = 0
    """Pictures that have been chosen for the judge's sample; after a build, as many as a stream would have chosen."""

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
        bare = replace(bare, verified=None, purity=0.0, weight=start_weight(settings))
        calibrated = settings.scoring.threshold == "calibrated"
        bare = bare.recalibrated() if calibrated else replace(bare, threshold=start_threshold(settings))
        # the reference describes what waits and forgets it; it never waits long enough to be cut off
        room = keep if settings.mining.rule == "lowest_share" else UNBOUNDED
        return cls(
            detector=bare,
            class_counts=torch.zeros(classes, dtype=torch.int64),
            first_seen=torch.full((classes,), UNBOUNDED),
            feature_sum=torch.zeros(dim, dtype=torch.float64),
            recent=Rows.of(keep, dim),
            recent_initial=Rows.of(keep),
            recent_votes=Rows.of(keep),
            recent_scores=Rows.of(keep),
            candidates=Candidates.of(room, dim),
            past_scores=Rows.of(settings.stream.score_history),
            activation_scores=Rows.of(settings.scoring.activation.queue_size),
            negatives=torch.empty(0, dim),
            asked=AskedPictures.of(ASKED, dim),
            gamma=settings.mining.gamma,
        )

    def resized(self, settings: Settings) -> "AdaptationState":
        """Return the state with every queue as long as the settings say; the latest rows stay."""
        cold = type(self).cold(self.detector, settings)
        names = ("recent", "recent_initial", "recent_votes", "recent_scores", "past_scores", "activation_scores")
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
    return 0.5 if isinstance(threshold, str) else threshold
