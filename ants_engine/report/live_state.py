"""The content of a live page: a bounded state that grows with a run, in sections with a version each."""

import itertools
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

from ants_engine.clip.image_ref import ImageRef
from ants_engine.common.progress import ProgressEvent
from ants_engine.common.terminal_text import plain
from ants_engine.dispatch.backend_registry import declared_model
from ants_engine.dispatch.throughput_monitor import Counts, Pulse
from ants_engine.learning.report import BatchRecord
from ants_engine.learning.run_observer import AnsweredQuestion, FirstLook, RunObserver, RunStart, ScoredBatch
from ants_engine.report.document import Fact
from ants_engine.report.facts import cost_fact, fact, leaning, tokens_fact
from ants_engine.settings.config import ImageSettings

T = TypeVar("T")

SHOWN = 24
"""Pictures of the gallery; their sources stay readable as long."""
REMEMBERED = 10_000
"""Scores of pictures still to be described, and sentences of pictures still to be scored, that are kept."""
LONGEST = 400
"""Characters of a text that are shown."""
WORDS = 12
"""Classes whose look-alikes are shown: the latest."""
BOUND = 240
"""Points of a series: more than a figure can show apart."""
BINS = 40
REST = 2.0
"""Seconds between two updates of the pictures, which cost a browser and this machine more than numbers do."""
THUMBNAIL = "thumbnail/"
"""Prefix of a section that is one thumbnail, so that each is sent to a reader once."""


@dataclass(slots=True)
class Shown:
    """One picture of the gallery."""

    number: int
    name: str
    ref: ImageRef | None
    score: float | None
    nearest: str
    said: str | None = None
    tried: bool = False
    """A thumbnail was asked for."""
    thumbnail: str | None = None
    """A data URL."""


class LiveState(RunObserver):
    """Observes a run. `since` gives the sections that have changed; a section is made when it is first asked for."""

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the run does.

        Args:
            title: the page's heading.
            clock: in seconds.
        """
        self._title = title
        self._clock = clock
        self._began = clock()
        self._run: RunStart | None = None
        self._version = 0
        self._changed: dict[str, int] = {}
        self._late: set[str] = set()
        self._late_at = -REST
        self._spelled: dict[str, tuple[int, str]] = {}
        self._events: dict[str, ProgressEvent] = {}
        self._eta = Eta()
        self._first = Histogram()
        self._final = Histogram()
        self._unreadable = 0
        self._gamma = 0.0
        self._threshold: float | None = None
        self._weight: float | None = None
        self._answers = {"ens": 0, "vsnl": 0}
        self._counts: Counts | None = None
        self._pulse: Pulse | None = None
        self._load: Series[tuple[float, int, int, float]] = Series()
        self._batches: Series[BatchRecord] = Series()
        self._gallery = Gallery()
        self._words: OrderedDict[str, str] = OrderedDict()
        self._end: dict[str, Any] | None = None
        self._note = ""
        self._touch("run", "now")

    # ---- events of the run ------------------------------------------------------------------------------------------

    def began(self, run: RunStart) -> None:
        """See `RunObserver.began`."""
        self._run = run
        self._gamma = run.gamma
        self._touch("run", "now")

    def progressed(self, event: ProgressEvent) -> None:
        """See `RunObserver.progressed`."""
        self._events[event.stage] = event
        self._eta.note(event)
        self._touch("now")

    def looked(self, look: FirstLook) -> None:
        """See `RunObserver.looked`."""
        self._gamma = look.gamma
        self._unreadable += len(look.failures)
        scores = look.neglabel_score.double().numpy()
        self._first.add(scores, look.gamma)
        if self._run is not None and self._run.kind == "build":
            likely_ood = np.flatnonzero(scores < look.gamma).tolist()
            for row in likely_ood:
                self._gallery.remember(look.names[row], float(scores[row]))
            for row in likely_ood[-SHOWN:]:
                nearest = self._run.class_names[int(look.predicted[row])]
                self._gallery.put(look.names[row], look.refs[row], None, nearest)
            self._late.add("pictures")
        self._touch("now", "scores")

    def answered(self, question: AnsweredQuestion) -> None:
        """See `RunObserver.answered`."""
        text = question.text
        if text is None:
            return
        self._answers[question.task] += 1
        if question.task == "ens":
            self._gallery.say(question.name, text)
            if self._run is not None and self._run.kind == "build":
                # the verdicts of a stream come with its batches
                self._gallery.put(question.name, question.ref, None, question.class_name)
            self._late.add("pictures")
        else:
            self._words[question.class_name] = text
            self._words.move_to_end(question.class_name)
            _bound(self._words, WORDS)
            self._late.add("words")
        self._touch("now")

    def stands(self, counts: Counts, pulse: Pulse) -> None:
        """See `RunObserver.stands`."""
        self._counts, self._pulse = counts, pulse
        self._load.add((round(self._clock() - self._began, 1), counts.in_flight, pulse.limit, pulse.per_second))
        self._touch("now", "load")

    def scored(self, batch: ScoredBatch) -> None:
        """See `RunObserver.scored`."""
        scores = batch.scores
        self._final.add(scores.id_score.astype(np.float64), scores.threshold)
        self._threshold, self._weight = scores.threshold, scores.weight
        self._batches.add(batch.record)
        nearest = scores.predicted_class
        for row in np.flatnonzero(scores.is_outlier).tolist()[-SHOWN:]:
            self._gallery.put(scores.names[row], batch.refs[row], float(scores.id_score[row]), nearest[row] or "")
        self._late.add("pictures")
        self._touch("now", "scores", "batches")

    # ---- events of the program that runs it -------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Show work that belongs to no stage, such as writing the report."""
        self._note = text
        self._touch("now")

    def decided(self, weight: float, threshold: float) -> None:
        """Show lambda and threshold of a finished detector."""
        self._weight, self._threshold = weight, threshold
        self._touch("now", "scores")

    def end(self, ending: str, lines: Iterable[str] = ()) -> None:
        """Show that the run is over; the first call counts.

        Args:
            ending: ``done``, ``interrupted`` or ``failed``.
            lines: for people, such as the path of the report.
        """
        if self._end is None:
            self._note = ""
            self._end = {"ending": ending, "lines": [short(line) for line in lines]}
            self._touch("now", "end", *self._late)
            self._late.clear()

    # ---- for readers ------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._end is not None

    @property
    def limits(self) -> ImageSettings:
        """Limits for reading pictures."""
        return ImageSettings() if self._run is None else self._run.settings.pictures

    def without_thumbnail(self) -> Shown | None:
        """Return the newest picture of the gallery that no thumbnail was asked for, if any."""
        return self._gallery.without_thumbnail()

    def illustrate(self, picture: Shown, thumbnail: str | None) -> None:
        """Show the thumbnail of a picture of the gallery, a data URL; None if it cannot be made."""
        picture.tried, picture.thumbnail = True, thumbnail
        if thumbnail is None:
            return
        name = f"{THUMBNAIL}{picture.number}"
        if "pictures" in self._late:
            # not before the picture itself: the page drops thumbnails of pictures that it does not show
            self._late.add(name)
        else:
            self._touch(name)

    def since(self, version: int) -> tuple[int, str | None]:
        """Return the current version, and the sections that have changed since another one.

        Args:
            version: the reader's; 0 gives everything.

        Returns:
            The version, and one line of JSON, an object of sections; None if nothing has changed.
        """
        if self._late and (self.ended or self._clock() - self._late_at >= REST):
            self._late_at = self._clock()
            self._touch(*self._late)
            self._late.clear()
        shown = self._gallery.thumbnails()
        for name in [name for name in self._changed if name.startswith(THUMBNAIL)]:
            if int(name.removeprefix(THUMBNAIL)) not in shown:
                # its picture has left the gallery
                del self._changed[name]
                self._spelled.pop(name, None)
        # a version that was never given out belongs to another run
        known = version if 0 <= version <= self._version else 0
        changed = [name for name, at in self._changed.items() if at > known]
        if not changed:
            return self._version, None
        parts = [f"{json.dumps(name)}:{self._section(name)}" for name in changed]
        return self._version, "{" + ",".join(parts) + "}"

    def _touch(self, *names: str) -> None:
        self._version += 1
        for name in names:
            self._changed[name] = self._version

    def _section(self, name: str) -> str:
        at = self._changed[name]
        spelled = self._spelled.get(name)
        if spelled is None or spelled[0] != at:
            spelled = (at, json.dumps(self._make(name), ensure_ascii=False, separators=(",", ":"), allow_nan=False))
            self._spelled[name] = spelled
        return spelled[1]

    def _make(self, name: str) -> Any:
        if name.startswith(THUMBNAIL):
            return self._gallery.thumbnails().get(int(name.removeprefix(THUMBNAIL)))
        make: Callable[[], Any] = getattr(self, f"_make_{name}")
        return make()

    def _make_run(self) -> dict[str, Any]:
        run = self._run
        if run is None:
            return {"title": plain(self._title), "kind": None}
        mllm = run.settings.mllm
        return {
            "title": plain(self._title),
            "kind": run.kind,
            "classes": len(run.class_names),
            "model": plain(declared_model(mllm)) or plain(mllm.backend),
            "priced": any(run.settings.dispatch.prices.model_dump().values()),
        }

    def _make_now(self) -> dict[str, Any]:
        left = self._eta.seconds()
        known = [seconds for seconds in left.values() if seconds is not None]
        whole = bool(known) and len(known) == len(left) and not self._halted()
        return {
            "elapsed": round(self._clock() - self._began, 1),
            "left": round(max(known), 1) if whole else None,
            "waits": plain(self._note) or self._waits(),
            "stages": [
                {
                    "name": plain(event.stage),
                    "done": event.done,
                    "total": event.total,
                    "left": None if self._halted() else _rounded(left.get(event.stage)),
                }
                for event in self._events.values()
            ],
            "facts": [one.model_dump() for one in self._facts()],
        }

    def _facts(self) -> list[Fact]:
        run, counts, pulse = self._run, self._counts, self._pulse
        if run is None:
            return []
        of = "" if run.total is None else f"of {run.total:,}, "
        found = [fact("Pictures", f"{self._first.total + self._unreadable:,}", f"{of}{self._unreadable:,} unreadable")]
        if total := self._final.total:
            share = f"{100 * self._final.below / total:.1f} % of those that could be read"
            found.append(fact("Called unknown", f"{self._final.below:,}", share))
        else:
            note = f"S_nl below gamma {self._gamma:.3g}, at a first look"
            found.append(fact("Look unknown", f"{self._first.below:,}", note))
        found.append(fact("Sentences", f"{self._answers['ens']:,}", "about pictures"))
        found.append(fact("Look-alikes", f"{self._answers['vsnl']:,}", "classes answered"))
        if self._threshold is not None and self._weight is not None:
            found.append(fact("Threshold", f"{self._threshold:.3f}", "below this id_score a picture is unknown"))
            found.append(fact("Lambda", f"{self._weight:.2f}", leaning(self._weight)))
        if counts is None or pulse is None:
            return found
        stored = f"{counts.from_store:,} from the store, {counts.failed:,} failed"
        found.append(fact("Answers", f"{counts.answered:,} of {counts.asked:,}", stored))
        found.append(fact("Rate", f"{pulse.per_second:.2g}/s", "answers of the MLLM, over half a minute"))
        limit = f"limit {pulse.limit:,}, at most {pulse.slots:,}"
        found.append(fact("With the MLLM", f"{counts.in_flight:,}", limit))
        if pulse.spent.tokens:
            found.append(tokens_fact(pulse.spent.prompt_tokens, pulse.spent.completion_tokens))
        return [*found, cost_fact(run.settings, pulse.spent.cost)]

    def _halted(self) -> bool:
        pulse = self._pulse
        if pulse is None:
            return False
        held = pulse.holding is not None and pulse.holding_seconds >= 1
        return pulse.stuck or pulse.down_since is not None or held

    def _waits(self) -> str:
        """Return what the run waits for, in words; empty if nothing is known."""
        counts, pulse = self._counts, self._pulse
        if counts is None or pulse is None or self._end is not None:
            return ""
        parts = []
        if pulse.down_since is not None:
            parts.append(f"the server is down since {pulse.down_since}, probing")
        if pulse.holding is not None and pulse.holding_seconds >= 1:
            parts.append(f"held by {plain(pulse.holding)} for {pulse.holding_seconds:.0f} s")
        if pulse.stuck:
            parts.append(f"nothing has come for {pulse.quiet:.0f} s: stuck?")
        for number, what in (
            (counts.in_flight, "with the MLLM"),
            (counts.waiting, "waiting their turn"),
            (counts.retrying, "waiting to be tried again"),
            (counts.sharing, "asked by another process"),
            (counts.storing, "on the way to the disk"),
        ):
            if number:
                parts.append(f"{number:,} {what}")
        return ", ".join(parts)

    def _make_scores(self) -> dict[str, Any]:
        shown = {"neglabel_score": {"counts": self._first.counts(), "line": self._gamma}}
        if self._final.total and self._threshold is not None:
            shown["id_score"] = {"counts": self._final.counts(), "line": self._threshold}
        return shown

    def _make_batches(self) -> list[dict[str, Any]]:
        return [_finite(asdict(record)) for record in self._batches.points()]

    def _make_load(self) -> list[tuple[float, int, int, float]]:
        return [(at, busy, limit, round(rate, 3)) for at, busy, limit, rate in self._load.points()]

    def _make_pictures(self) -> list[dict[str, Any]]:
        return self._gallery.to_list()

    def _make_words(self) -> list[dict[str, str]]:
        return [{"class": plain(name), "said": short(text)} for name, text in reversed(self._words.items())]

    def _make_end(self) -> dict[str, Any] | None:
        return self._end


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace infinity and NaN, which JSON lacks."""
    return {key: None if isinstance(one, float) and not np.isfinite(one) else one for key, one in values.items()}


class Gallery:
    """The latest pictures that look unknown; a new one, or one with news, comes first, and the oldest goes."""

    def __init__(self) -> None:
        """Begin empty."""
        self._numbers = itertools.count(1)
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._said: OrderedDict[str, str] = OrderedDict()
        self._scores: OrderedDict[str, float] = OrderedDict()

    def remember(self, name: str, score: float) -> None:
        """Keep the score of a picture that may be described later."""
        self._scores[name] = score
        _bound(self._scores, REMEMBERED)

    def put(self, name: str, ref: ImageRef | None, score: float | None, nearest: str) -> None:
        """Show a picture; without a score, with the remembered one."""
        score = self._scores.get(name) if score is None else score
        shown = self._shown.pop(name, None)
        if shown is None:
            shown = Shown(next(self._numbers), name, ref, score, nearest)
        # the same object: its thumbnail may be under way
        shown.ref, shown.score, shown.nearest, shown.said = ref, score, nearest, self._said.get(name)
        self._shown[name] = shown
        _bound(self._shown, SHOWN)

    def say(self, name: str, text: str) -> None:
        """Add a sentence to a picture, whether it is shown already or later."""
        self._said[name] = text
        _bound(self._said, REMEMBERED)
        if name in self._shown:
            self._shown[name].said = text
            self._shown.move_to_end(name)

    def without_thumbnail(self) -> Shown | None:
        """Return the newest picture that no thumbnail was asked for, if any."""
        return next((one for one in reversed(self._shown.values()) if not one.tried and one.ref is not None), None)

    def thumbnails(self) -> dict[int, str]:
        """Return the thumbnails by their pictures' numbers."""
        return {one.number: one.thumbnail for one in self._shown.values() if one.thumbnail is not None}

    def to_list(self) -> list[dict[str, Any]]:
        """Return the pictures as JSON values, newest first."""
        return [
            {
                "number": one.number,
                "name": plain(one.name),
                "score": None if one.score is None else round(one.score, 4),
                "nearest": plain(one.nearest),
                "said": None if one.said is None else short(one.said),
            }
            for one in reversed(self._shown.values())
        ]


def short(text: str) -> str:
    """Bound a text, and make it one line without control and invisible characters."""
    whole = plain(" ".join(text.split()))
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"


class Series(Generic[T]):
    """At most ``bound`` points, evenly spread over all that were added, and the newest."""

    def __init__(self, bound: int = BOUND) -> None:
        """Begin with none."""
        self._bound = bound
        self._every = 1
        self._added = 0
        self._points: list[T] = []
        self._newest: list[T] = []

    def add(self, point: T) -> None:
        """Add a point."""
        self._newest = []
        if self._added % self._every == 0:
            self._points.append(point)
            if len(self._points) > self._bound:
                self._points = self._points[::2]
                self._every *= 2
        else:
            self._newest = [point]
        self._added += 1

    def points(self) -> list[T]:
        """Return the points, oldest first."""
        return [*self._points, *self._newest]


class Histogram:
    """Scores in [0, 1]; those outside count in the outermost bins, NaN in none."""

    def __init__(self, bins: int = BINS) -> None:
        """Begin with empty bins of equal width."""
        self._counts: NDArray[np.int64] = np.zeros(bins, dtype=np.int64)
        self.below = 0
        """Scores that were below the threshold when they were added."""

    def add(self, scores: NDArray[np.floating], line: float) -> None:
        """Add scores (n,), compared with the current threshold."""
        found = scores[~np.isnan(scores)]
        bins = len(self._counts)
        places = np.clip((found * bins).astype(np.int64), 0, bins - 1)
        self._counts += np.bincount(places, minlength=bins)
        self.below += int((found < line).sum())

    @property
    def total(self) -> int:
        """Number of scores."""
        return int(self._counts.sum())

    def counts(self) -> list[int]:
        """Return the counts, lowest scores first."""
        return [int(count) for count in self._counts]


class Eta:
    """The time that each stage still takes: rich's estimate from the speed of the last half minute, without its bar."""

    def __init__(self) -> None:
        """Begin with no stage."""
        self._progress = Progress(disable=True, auto_refresh=False)
        self._tasks: dict[str, TaskID] = {}

    def note(self, event: ProgressEvent) -> None:
        """Add a step."""
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=event.total)
        self._progress.update(self._tasks[event.stage], completed=event.done, total=event.total)

    def seconds(self) -> dict[str, float | None]:
        """Return the seconds left of every unfinished stage; None without an estimate."""
        tasks = {name: self._progress.tasks[task] for name, task in self._tasks.items()}
        return {name: task.time_remaining for name, task in tasks.items() if not task.finished}


def _bound(kept: OrderedDict[str, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
