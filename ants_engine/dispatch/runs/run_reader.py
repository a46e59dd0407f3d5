"""Reads run folders: finished, running, killed, or damaged. What is in them is untrusted data, and bounded."""

import json
import math
import os
import re
import stat
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.canonical_json import excerpt
from ants_engine.errors import UsageError

RECORD, RESPONSES, EVENTS = "run.json", "responses.jsonl", "events.jsonl"
"""Files of a run folder."""
ROWS = 24
"""Most rows of the throughput table; a long run has at least half as many."""
MESSAGES = 200
"""Distinct messages per kind of failure; further ones are counted together."""
LAST_EVENTS = 12
KINDS = 1000
"""Distinct kinds of failures and events; the engine has a few dozen."""

_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_FREQUENT = {"attempt_failed", "template", "progress", "limit_changed"}
"""Events that are counted, not listed."""


class RunSummary:
    """Sums up response and event lines, in the order of the files. Memory is bounded by 8 bytes a request."""

    def __init__(self) -> None:
        """Start at zero."""
        self.ended = 0
        self.answered = 0
        self.from_store = 0
        self.attempts = 0
        self.retried = 0
        """Requests with more than one attempt."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        """Tokens that the backend used in this run; an answer from the store costs none."""
        self.first_answer: float | None = None
        """Seconds from the start."""
        self.last: float = 0.0
        """Seconds from the start to the last line."""
        self.failed: Counter[str] = Counter()
        self.failed_attempts: Counter[str] = Counter()
        self.tasks: dict[str, Counter[str]] = {}
        self.events: Counter[str] = Counter()
        self.last_events: deque[Mapping[str, Any]] = deque(maxlen=LAST_EVENTS)
        self.progress: Mapping[str, Any] = {}
        """The latest ``progress`` event."""
        self.limit: Mapping[str, Any] = {}
        """The latest ``limit_changed`` event."""
        self._messages: dict[str, Counter[str]] = {}
        self._latencies = array("d")
        self._width = 1.0
        self._bins: Counter[int] = Counter()

    def add_response(self, line: Mapping[str, Any]) -> bool:
        """Add a request's line.

        Returns:
            Whether it was valid; otherwise nothing was added.
        """
        at, seconds, ending = _number(line.get("at")), _number(line.get("seconds")), line.get("ending")
        source, task, attempts = line.get("source"), line.get("task"), _count(line.get("attempts"))
        if at is None or seconds is None or not isinstance(ending, str) or not isinstance(task, str):
            return False
        if attempts is None or source not in ("store", "backend"):
            return False
        self.ended += 1
        self._reach(at)
        self.attempts += attempts
        self.retried += attempts > 1
        counts = self.tasks.setdefault(_bounded(task, self.tasks), Counter())
        counts["answered" if ending == "answer" else "failed"] += 1
        if ending != "answer":
            self._add_failure(ending, line.get("message"))
            return True
        self.answered += 1
        self.first_answer = at if self.first_answer is None else min(at, self.first_answer)
        self._bins[int(at // self._width)] += 1
        if source == "store":
            self.from_store += 1
        else:
            self._latencies.append(seconds)
            self.prompt_tokens += _count(line.get("prompt_tokens")) or 0
            self.completion_tokens += _count(line.get("completion_tokens")) or 0
        return True

    def add_event(self, line: Mapping[str, Any]) -> bool:
        """Add an event's line.

        Returns:
            Whether it was valid; otherwise nothing was added.
        """
        at, kind, facts = _number(line.get("at")), line.get("kind"), line.get("facts")
        if at is None or not isinstance(kind, str) or not isinstance(facts, dict):
            return False
        self._reach(at)
        self.events[_bounded(kind, self.events)] += 1
        if kind == "attempt_failed":
            error = facts.get("error")
            self.failed_attempts[_bounded(error if isinstance(error, str) else "?", self.failed_attempts)] += 1
        elif kind == "progress":
            self.progress = facts
        elif kind == "limit_changed":
            self.limit = facts
        if kind not in _FREQUENT:
            self.last_events.append({"at": at, "kind": kind, "facts": facts})
        return True

    def latency(self) -> dict[str, float] | None:
        """Return quantiles (nearest rank) of the seconds from submission to answer, for answers of the backend."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in _QUANTILES.items()}

    def throughput(self) -> list[dict[str, float]]:
        """Return answers per second over time; the last row may not be full yet."""
        if not self._bins:
            return []
        rows = []
        for number in range(int(self.last // self._width) + 1):
            start = number * self._width
            length = min(self._width, self.last - start) or self._width
            answers = self._bins[number]
            rows.append({"from": start, "to": start + length, "answers": answers, "per_second": answers / length})
        return rows

    def commonest_message(self, kind: str) -> str:
        """Return the most common message of one kind of failure."""
        found = self._messages.get(kind)
        return found.most_common(1)[0][0] if found else ""

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        return {
            "ended": self.ended,
            "answered": self.answered,
            "from_store": self.from_store,
            "failed": {
                kind: {"count": count, "message": self.commonest_message(kind)}
                for kind, count in self.failed.most_common()
            },
            "tasks": {task: dict(counts) for task, counts in self.tasks.items()},
            "attempts": self.attempts,
            "retried": self.retried,
            "failed_attempts": dict(self.failed_attempts.most_common()),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "first_answer_seconds": self.first_answer,
            "last_seconds": self.last,
            "latency_seconds": self.latency(),
            "throughput": self.throughput(),
            "progress": dict(self.progress),
            "limit": dict(self.limit),
            "events": dict(self.events),
            "last_events": list(self.last_events),
        }

    def _add_failure(self, kind: str, message: object) -> None:
        kind = _bounded(kind, self.failed)
        self.failed[kind] += 1
        messages = self._messages.setdefault(kind, Counter())
        text = message if isinstance(message, str) else ""
        messages[text if text in messages or len(messages) < MESSAGES else "…"] += 1

    def _reach(self, at: float) -> None:
        self.last = max(self.last, at)
        while self.last >= ROWS * self._width:
            self._width *= 2
            wider: Counter[int] = Counter()
            for number, answers in self._bins.items():
                wider[number // 2] += answers
            self._bins = wider


def _bounded(kind: str, known: Mapping[str, object]) -> str:
    return kind if kind in known or len(known) < KINDS else "…"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # a JSON integer may exceed any float
    return float(value) if 0 <= value <= 1e12 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**15 else None


State: TypeAlias = Literal["running", "ended", "killed", "unknown", "starting"]
"""``killed``: no ending, and no process holds the lock. ``unknown``: no ending, and the file system has no locks."""

MAX_RECORD_BYTES = 4_194_304
YOUNG_SECONDS = 2.0
"""A folder without a record is taken as starting for so long."""
MAX_LINE_BYTES = 65_536
"""Longer lines are damaged."""

RUN_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{6}", re.ASCII)


def list_runs(root: Path) -> list[Path]:
    """List the run folders of a root, oldest first.

    Raises:
        UsageError: the root does not exist or cannot be read.
    """
    try:
        return sorted(each for each in root.iterdir() if RUN_NAME.fullmatch(each.name) and each.is_dir())
    except OSError as error:
        raise UsageError(f"{root}: no run folders there: {error.strerror}; name the folder that holds them") from error


def find_run(root: Path, name: str | None = None) -> Path:
    """Find one run folder.

    Args:
        root: the folder of run folders.
        name: a run folder as a path, a run's name, or the start or end of one; the newest when empty.

    Raises:
        UsageError: there is none, or several.
    """
    # a path to a folder, however incomplete
    if name and any((Path(name) / each).exists() for each in (RECORD, RESPONSES, EVENTS)):
        return Path(name)
    runs = list_runs(root)
    if name:
        runs = [each for each in runs if each.name.startswith(name) or each.name.endswith(name)]
        if len(runs) > 1:
            raise UsageError(f"{excerpt(name)} fits {len(runs)} runs under {root}; 'ants run list' names them")
    if not runs:
        what = f"no run {excerpt(name)} under {root}; 'ants run list' names them" if name else f"{root}: no runs there"
        raise UsageError(what)
    return runs[-1]


class RunReader:
    """One run folder. `read` reads what has been added since the last call."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read yet."""
        self.folder = folder
        self.record: Mapping[str, Any] = {}
        """``run.json``; empty where it cannot be read."""
        self.state: State = "starting"
        self.summary = RunSummary()
        """Sums of the lines so far."""
        self.problems: list[str] = []
        """What is missing or damaged."""
        self._responses = _Lines(folder / RESPONSES)
        self._events = _Lines(folder / EVENTS)

    def read(self) -> None:
        """Read everything that is there now. Missing and damaged files become `problems`."""
        # lock first: a run releases it after its last line, so an unlocked folder is complete
        held = _held(self.folder / EVENTS)
        self.problems = []
        self.record = self._read_record()
        self.state = self._find_state(held)
        if self.state == "starting":
            # its files are still to come
            self.problems = []
            return
        over = self.state != "running"
        for line in self._responses.read(last=over):
            if not self.summary.add_response(line):
                self._responses.damaged += 1
        for line in self._events.read(last=over):
            if not self.summary.add_event(line):
                self._events.damaged += 1
        self.problems += [*self._responses.problems(), *self._events.problems()]
        for count, what in (("lines_dropped", "the disk was too slow"), ("lines_lost", "the disk could not take them")):
            if isinstance(lines := self.record.get(count), int) and lines > 0:
                self.problems.append(f"{lines} lines are not there: {what}")

    def as_json(self) -> dict[str, Any]:
        """Return what is known as JSON."""
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "state": self.state,
            "problems": self.problems,
            "record": dict(self.record),
            "lines": self.summary.as_json(),
        }

    @property
    def ending(self) -> str | None:
        """The recorded ending, if any."""
        ending = self.record.get("ending")
        return ending if isinstance(ending, str) else None

    def _find_state(self, held: bool | None) -> State:
        if self.ending is not None:
            return "ended"
        if held:
            return "running" if self.record else "starting"
        if not (self.folder / RECORD).exists() and _age(self.folder) < YOUNG_SECONDS:
            return "starting"
        return "unknown" if held is None or self.record.get("locked") is False else "killed"

    def _read_record(self) -> Mapping[str, Any]:
        path = self.folder / RECORD
        try:
            with _open(path) as stream:
                # a file cut at the bound is not JSON
                return _parse(read_at_most(stream, MAX_RECORD_BYTES))
        except FileNotFoundError:
            problem = "is missing: what was asked of this run is not known"
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        except (ValueError, RecursionError):
            problem = "is damaged: what was asked of this run is not known"
        self.problems.append(f"{RECORD} {problem}")
        return {}


def response_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """Yield every complete JSON line of a run's requests; none if the file is missing or unreadable."""
    return _Lines(folder / RESPONSES).read(last=True)


def event_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The same for a run's events."""
    return _Lines(folder / EVENTS).read(last=True)


class _Lines:
    """The lines of a growing file. A line without a newline may still be being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._problem: str | None = None
        self.damaged = 0
        self.cut = 0

    def read(self, *, last: bool) -> Iterator[Mapping[str, Any]]:
        """Yield each new valid line; ``last``: the run is over, so an unfinished line was cut."""
        self._problem = None
        try:
            with _open(self._path) as stream:
                stream.seek(self._offset)
                while line := stream.readline(MAX_LINE_BYTES):
                    whole = line.endswith(b"\n")
                    if not whole and len(line) < MAX_LINE_BYTES:
                        if last:
                            self._offset += len(line)
                            self.cut += 1
                        return
                    self._offset += len(line)
                    while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE_BYTES)):
                        self._offset += len(line)
                    if not whole:
                        self.damaged += 1
                    elif line.strip():
                        yield from self._parsed(line)
        except FileNotFoundError:
            self._problem = "is missing"
        except OSError as error:
            self._problem = f"cannot be read: {error.strerror or error}"

    def problems(self) -> Iterator[str]:
        """Describe what is wrong with the file."""
        name = self._path.name
        if self._problem:
            yield f"{name} {self._problem}"
        if self.cut:
            yield f"{name}: its last line was cut and is left out"
        if self.damaged:
            yield f"{name}: {self.damaged} damaged line{'s are' if self.damaged > 1 else ' is'} left out"

    def _parsed(self, line: bytes) -> Iterator[Mapping[str, Any]]:
        try:
            yield _parse(line)
        except (ValueError, RecursionError):
            self.damaged += 1


def _parse(data: bytes) -> dict[str, Any]:
    parsed = json.loads(data, parse_constant=_refuse)
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the value is wrong
    return parsed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _open(path: Path) -> Any:
    # follow no link, and do not block on a pipe
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return math.inf


def _held(path: Path) -> bool | None:
    """Tell whether a process holds the lock; None when the system cannot tell."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        with _open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False
