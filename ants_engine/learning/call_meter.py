"""Listens to the calls to the MLLM: for each batch how many came back, how long they took, how many at once."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ants_engine.dispatch.request import Outcome, Request
from ants_engine.protocol import JSON, Answer


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
