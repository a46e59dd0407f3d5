"""What happened in a build and in streams: counts, what was set aside and why, calls, a record of each batch."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from pydantic import PlainValidator

from ants_engine.common.terminal_text import encodable
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.protocol import JSON, Answer


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text is expected, not {type(value).__name__}")  # noqa: TRY004  # pydantic wants it
    return value


AnyText = Annotated[str, PlainValidator(_any_text)]
"""A text that may hold what Python makes of a file name that is not UTF-8; pydantic's own ``str`` refuses that."""

SHOWN = 1000
"""Of what was set aside, so many are kept one by one: the latest. Of reasons, so many are counted one by one."""
OTHER = "for other reasons"


@dataclass(frozen=True, slots=True)
class SetAside:
    """Something that was not used, and why. Nothing is dropped without one of these."""

    what: str
    """``picture``, ``request`` or ``text``."""
    name: AnyText
    """The picture's name, the request in words, or the text itself (shortened)."""
    reason: AnyText


KEPT = 1000
"""Batches that a detector keeps a record of: the latest ones."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """Where a stream stood when it scored one batch, and what the MLLM did meanwhile. Times are of the clock."""

    batch: int
    """The batch, from 1."""
    pictures: int
    """Pictures of this batch, unreadable ones included."""
    foreign: int
    """Those of them that are unknown."""
    threshold: float
    weight: float
    gamma: float
    ens_texts: int
    vsnl_texts: int
    captions_asked: int
    look_alikes_asked: int
    waited: float
    """Seconds that scoring stood still for the MLLM."""
    calls: int = 0
    """Calls to the MLLM that came back since the batch before; what the response store answers is no call."""
    latency: float | None = None
    """Median seconds of those calls."""
    latency_most: float | None = None
    concurrency: int = 0
    """The most of those calls that were under way at the same time."""
    run: str | None = None
    """The name of the run folder that holds the record of its requests."""


@dataclass(slots=True)
class BuildReport:
    """Filled while a detector is built."""

    pictures: int = 0
    """Pictures in the history."""
    candidates: int = 0
    """Pictures with an initial score below gamma."""
    negative_images: int = 0
    """Pictures that the MLLM was to describe."""
    near_duplicates: int = 0
    """Of these, how many were not described as they look like another that is (``mining.same_picture``)."""
    gamma_star: float | None = None
    """The highest initial score among the negative images (paper eq. 6)."""
    similar_classes: tuple[AnyText, ...] = ()
    """ID classes whose look-alikes were asked for, most similar to the stream first."""
    ens_texts: int = 0
    vsnl_texts: int = 0
    asked: int = 0
    """Requests that went to the MLLM."""
    from_store: int = 0
    """Requests that the response store answered."""
    failed: int = 0
    """Requests without an answer."""
    verified: int = 0
    """Pictures that the MLLM confirmed to show an ID class, and that no sentence describes."""
    judged: dict[str, Any] | None = None
    """With ``scoring.threshold = "judge"``: how the threshold was found, see `JudgedThreshold.to_dict`."""
    prompt_tokens: int | None = None
    """Tokens of all answered requests, also of those that the store answered; None where no backend counts them."""
    completion_tokens: int | None = None
    cost: float = 0.0
    """What the calls of this run cost, in the currency of ``dispatch.prices``; 0 without prices."""
    run: str | None = None
    """The name of the run folder that holds the record of the requests; None where none was kept."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds per stage."""
    set_aside: list[SetAside] = field(default_factory=list)
    """The latest 1,000; `put_aside` adds to them."""
    set_aside_count: int = 0
    """How many there were in all."""
    set_aside_reasons: dict[str, dict[AnyText, int]] = field(default_factory=dict)
    """``what`` → reason → how many, also of those that ``set_aside`` does not show any more."""
    notes: list[AnyText] = field(default_factory=list)
    """What a reader should know about this detector, such as a bank that stayed empty."""
    templates: dict[str, str] = field(default_factory=dict)
    """The prompt templates and the sha256 of their files."""
    lexicon_sha256: str = ""
    model_identity: dict[str, Any] = field(default_factory=dict)
    """The MLLM that answered."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that the scores depend on."""

    batches: list[BatchRecord] = field(default_factory=list)
    """What streams did since, batch by batch; the latest 1,000."""

    def note_batch(self, record: BatchRecord, judged: Mapping[str, Any] | None) -> None:
        """Note a batch that was delivered, and what the judge has said by then, if anything."""
        self.judged = self.judged if judged is None else dict(judged)
        self.batches.append(record)
        del self.batches[:-KEPT]

    def __post_init__(self) -> None:
        """Count what is given without counts, as in folders of earlier versions."""
        if self.set_aside and not self.set_aside_reasons:
            known, given, self.set_aside = self.set_aside_count, self.set_aside, []
            self.put_aside(*given)
            self.set_aside_count = max(known, len(given))

    def put_aside(self, *items: SetAside) -> None:
        """Note what was not used."""
        for item in items:
            reasons = self.set_aside_reasons.setdefault(item.what, {})
            # a reason may hold a size or a name, so there may be as many reasons as pictures
            reason = item.reason if item.reason in reasons or len(reasons) < SHOWN else OTHER
            reasons[reason] = reasons.get(reason, 0) + 1
            self.set_aside.append(item)
        self.set_aside_count += len(items)
        del self.set_aside[:-SHOWN]

    def reasons(self) -> Counter[tuple[str, str]]:
        """Count what was set aside by what it is and why."""
        return Counter(
            {(what, why): count for what, reasons in self.set_aside_reasons.items() for why, count in reasons.items()}
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for people."""
        lines = [
            f"{self.pictures} pictures, {self.candidates} look unknown, {self.negative_images} shown to the MLLM",
            f"{self.ens_texts} sentences, {self.vsnl_texts} look-alikes of {len(self.similar_classes)} classes",
            f"{self.asked} answers asked for, {self.from_store} from the store, {self.failed} failed",
        ]
        if self.verified:
            lines.append(f"{self.verified} pictures were confirmed to show a known class")
        if self.near_duplicates:
            lines.insert(1, f"{self.near_duplicates} of these look like another of them and were not described again")
        if self.judged is not None:
            # torch takes seconds to import
            from ants_engine.method.judge import JudgedThreshold

            lines.append(f"verdicts: {JudgedThreshold.from_dict(self.judged).line}")
        for (what, reason), count in self.reasons().most_common(8):
            lines.append(f"set aside: {count} {what}{'s' if count > 1 else ''}: {reason}")
        if self.set_aside_count > len(self.set_aside):
            lines.append(f"set aside: {self.set_aside_count} in all; the latest {len(self.set_aside)} are listed")
        lines += [f"note: {note}" for note in self.notes]
        return encodable("\n".join(lines))


@dataclass(slots=True)
class StreamReport(BuildReport):
    """What has happened in a stream so far; it stays small however long that is."""

    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Per task (``ens``, ``vsnl``): questions that have ended, and how many of them have no usable answer."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls that came back within one batch."""

    count: int
    median: float | None
    """Seconds."""
    most: float | None
    concurrency: int
    """The most that were under way at the same time."""


class CallMeter:
    """An `Observer` that remembers calls until it is read."""

    def __init__(self) -> None:
        """Start with none."""
        self._calls: list[tuple[float, float]] = []

    def read(self) -> Calls:
        """Return what came back since the last reading, and forget it."""
        calls, self._calls = self._calls, []
        if not calls:
            return Calls(0, None, None, 0)
        seconds = [end - begin for begin, end in calls]
        return Calls(len(calls), statistics.median(seconds), max(seconds), most_at_once(calls))

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Do nothing."""

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Remember when a call began and ended."""
        now = time.monotonic()
        self._calls.append((now - seconds, now))

    def ended(self, outcome: Outcome) -> None:
        """Do nothing: what the store answers is no call."""

    def event(self, kind: str, **facts: JSON) -> None:
        """Do nothing."""

    def close(self, ending: str) -> None:
        """Do nothing."""


def most_at_once(calls: list[tuple[float, float]]) -> int:
    """Return how many of the spans (begin, end) overlap at most; one that begins as another ends does not."""
    changes = sorted([(begin, 1) for begin, _ in calls] + [(end, -1) for _, end in calls])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
