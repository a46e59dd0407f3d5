"""Who is told how a build or a stream goes, picture by picture and answer by answer, while it goes on."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ants_engine.clip.image_ref import ImageRef
from ants_engine.common.progress import Listeners, ProgressCallback, ProgressEvent
from ants_engine.detector.detector import EncodedBatch
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.request import Outcome
from ants_engine.dispatch.throughput_monitor import Counts, Pulse
from ants_engine.errors import ImageError
from ants_engine.learning.pictures import PictureBatch
from ants_engine.learning.report import BatchRecord
from ants_engine.settings.config import Settings

_LOG = logging.getLogger("ants_engine")


@dataclass(frozen=True, slots=True, eq=False)
class RunStart:
    """What begins."""

    kind: Literal["build", "stream"]
    class_names: tuple[str, ...]
    total: int | None
    """Pictures, where their number is known beforehand."""
    settings: Settings
    gamma: float
    """A picture with an initial score below it looks unknown; in a stream it may move."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """n pictures that CLIP has seen; no MLLM has been asked about them yet."""

    names: tuple[str, ...]
    refs: tuple[ImageRef | None, ...]
    """Where each can be looked at, ``ref.load(settings.pictures)`` (blocking); None where only features were given.
    What came from a one-shot iterator and does not look unknown is let go of at once, and raises `ImageError`."""
    features: Tensor
    """(n, D) float32, L2-normalised."""
    neglabel_score: Tensor
    """(n,) float32 S_nl, higher = more ID."""
    predicted: Tensor
    """(n,) int64: the nearest ID class."""
    gamma: float
    failures: tuple[ImageError, ...]
    """Pictures of the same batch that cannot be used; they are not among the n."""

    @classmethod
    def of(cls, batch: PictureBatch, look: EncodedBatch, gamma: float) -> "FirstLook":
        """Put together what is known of a batch."""
        return cls(
            names=tuple(batch.names),
            refs=tuple(batch.refs),
            features=batch.features,
            neglabel_score=look.initial,
            predicted=look.predicted,
            gamma=gamma,
            failures=tuple(batch.failures),
        )


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredQuestion:
    """One question to the MLLM that has ended, well or not."""

    task: Literal["ens", "vsnl"]
    """A sentence about a picture, or look-alikes of a class."""
    name: str
    """The picture's name, or the class's."""
    class_name: str
    """The class: the one that CLIP took the picture for, or the one that look-alikes are asked for."""
    ref: ImageRef | None
    """The picture; None for look-alikes."""
    outcome: Outcome | ImageError
    """How it ended; the error where the picture could not be read any more."""

    @property
    def text(self) -> str | None:
        """The raw answer, which is cleaned or set aside later; None where there is none."""
        if isinstance(self.outcome, ImageError) or self.outcome.answer is None:
            return None
        return self.outcome.answer.text

    @property
    def error(self) -> Exception | None:
        """Why there is no answer."""
        return self.outcome if isinstance(self.outcome, ImageError) else self.outcome.error


@dataclass(frozen=True, slots=True, eq=False)
class ScoredBatch:
    """A batch of a stream, scored. It counts when it is delivered, which is a little later."""

    scores: Scores
    """All pictures of the batch, unreadable ones too."""
    refs: tuple[ImageRef | None, ...]
    """Row by row; see `FirstLook`."""
    record: BatchRecord


class RunObserver:
    """Told how a build or a stream goes, on the event loop. Subclass it and override what you need.

    It must be quick: whatever may wait is done elsewhere. What it raises is logged once, and it is told nothing more;
    the run goes on. Nothing that it is given may be changed. A picture reference that it keeps keeps the picture.
    """

    def began(self, run: RunStart) -> None:
        """Take note that CLIP is loaded and the first picture may come. Called once a run."""

    def progressed(self, event: ProgressEvent) -> None:
        """Take note of a step of a stage; the same that ``on_progress`` is told."""

    def looked(self, look: FirstLook) -> None:
        """Take note of pictures that CLIP has seen, batch by batch in the order of the input."""

    def answered(self, question: AnsweredQuestion) -> None:
        """Take note of a question that has ended, in the order in which they end."""

    def stands(self, counts: Counts, pulse: Pulse) -> None:
        """Take note of how the requests stand: once a second while there are some, and when all have ended."""

    def scored(self, batch: ScoredBatch) -> None:
        """Take note of a batch of a stream."""


class RunObservers(RunObserver):
    """Several observers as one. One that raises is logged once and told nothing more."""

    def __init__(self, observers: Iterable[RunObserver] = ()) -> None:
        """Tell these, in this order."""
        self._listening = Listeners(observers, _LOG, "the run goes on")

    def began(self, run: RunStart) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.began(run))

    def progressed(self, event: ProgressEvent) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.progressed(event))

    def looked(self, look: FirstLook) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.looked(look))

    def answered(self, question: AnsweredQuestion) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.answered(question))

    def stands(self, counts: Counts, pulse: Pulse) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.stands(counts, pulse))

    def scored(self, batch: ScoredBatch) -> None:
        """Tell all."""
        self._listening.tell(lambda each: each.scored(batch))

    def beside(self, callback: ProgressCallback | None) -> ProgressCallback:
        """Return a callback that tells all, and another callback, of every step."""

        def tell(event: ProgressEvent) -> None:
            self.progressed(event)
            if callback is not None:
                callback(event)

        return tell
