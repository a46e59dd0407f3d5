"""What the lines of a run come to: how far, how fast, what failed and why. Memory is bounded by 8 bytes a request."""

import math
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

ROWS = 24
"""The throughput table has at most so many rows, and at least half as many once the run is long enough."""
MESSAGES = 200
"""Different messages that are told apart per kind of failure; further ones are counted together."""
LAST_EVENTS = 12
KINDS = 1000
"""Different kinds of failures and events that are told apart: the engine has a few dozen."""

_QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_FREQUENT = {"attempt_failed", "template", "progress", "limit_changed"}
"""Events that are summed up, not listed."""


class RunSummary:
    """Adds up response and event lines, in the order of the files."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.ended = 0
        self.answered = 0
        self.from_store = 0
        self.attempts = 0
        self.retried = 0
        """Requests that were asked more than once."""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        """Tokens are those that the backend used in this run; an answer from the store costs none."""
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
        """The last word of the run itself on how far it is."""
        self.limit: Mapping[str, Any] = {}
        """The last change of the limit."""
        self._messages: dict[str, Counter[str]] = {}
        self._latencies = array("d")
        self._width = 1.0
        self._bins: Counter[int] = Counter()

    def add_response(self, line: Mapping[str, Any]) -> bool:
        """Add a request's line.

        Returns:
            Whether it was one; if not, nothing was added.
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
            Whether it was one; if not, nothing was added.
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
        """Return quantiles (nearest rank) of the seconds from submission to answer, of what the backend answered."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        return {name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] for name, share in _QUANTILES.items()}

    def throughput(self) -> list[dict[str, float]]:
        """Return answers per second over time, a row for each stretch; the last one may not be full yet."""
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
        """Return the message that requests failed with most often, of one kind of failure."""
        found = self._messages.get(kind)
        return found.most_common(1)[0][0] if found else ""

    def as_json(self) -> dict[str, Any]:
        """Spell all of it as JSON."""
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
    # a JSON integer may be larger than any float
    return float(value) if 0 <= value <= 1e12 else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**15 else None
