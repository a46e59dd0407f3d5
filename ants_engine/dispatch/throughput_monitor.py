"""Progress of a run: counts, answers per second, what it waits for, and whether it is stuck."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ants_engine.dispatch.limits.budget import Spent


@dataclass(frozen=True, slots=True)
class Counts:
    """A coordinator's requests at one moment."""

    asked: int = 0
    """Submitted and not cancelled."""
    answered: int = 0
    """Ended with an answer."""
    from_store: int = 0
    """Of these, from the store."""
    failed: int = 0
    """Ended with an error."""
    in_flight: int = 0
    """With the backend."""
    storing: int = 0
    """Answered, and being written to disk."""
    retrying: int = 0
    """Pausing before a retry."""
    sharing: int = 0
    """Being asked by another process with the same store."""

    @property
    def waiting(self) -> int:
        """Waiting for the gate or the store."""
        busy = self.in_flight + self.storing + self.retrying + self.sharing
        return self.asked - self.answered - self.failed - busy


SPAN = 30.0
"""Seconds over which the rate is measured."""
STUCK = 60.0
"""Seconds without a response after which a run may be stuck ..."""
UNUSUAL = 5.0
"""... and this many times the longest answer so far."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """A coordinator's throughput at one moment."""

    limit: int
    """Requests at once, as the gate now allows."""
    slots: int
    """Upper bound of ``limit``."""
    per_second: float
    """Answers from the backend per second, over the last `SPAN` seconds."""
    first_answer: float | None
    """Seconds from the first call to the first answer."""
    quiet: float
    """Seconds since the last response, while calls are in flight."""
    oldest: float
    """Age of the oldest call in flight, in seconds."""
    stuck: bool
    """Calls are in flight, and there has been no response for unusually long."""
    holding: str | None
    """What holds requests up besides concurrency: a ``Retry-After``, a rate, a limit of the user."""
    holding_seconds: float
    """For how long."""
    spent: Spent
    """What the run has used."""
    down_since: str | None = None
    """Local time when the server went down; None while it is up."""

    def in_words(self) -> str:
        """Describe it in a few words, for a progress bar."""
        parts = [f"{self.per_second:.2g}/s"] if self.per_second else []
        if self.stuck:
            parts.append(f"nothing has come for {self.quiet:.0f} s: stuck?")
        if self.down_since is not None:
            parts.append(f"server down since {self.down_since}, probing")
        if self.holding is not None and self.holding_seconds >= 1:
            parts.append(f"held by {self.holding} for {self.holding_seconds:.0f} s")
        return ", ".join(parts)


class ThroughputMonitor:
    """Measures calls to the backend."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing."""
        self._clock = clock
        # in order of their start
        self._asked: dict[int, float] = {}
        self._answers: deque[float] = deque(maxlen=100_000)
        self._first_asked: float | None = None
        self._first_answer: float | None = None
        self._last_sign = 0.0
        self._longest = 0.0

    def asking(self, request: int) -> None:
        """Note that a call starts; ``request`` identifies it."""
        now = self._clock()
        if not self._asked:
            self._last_sign = now
        if self._first_asked is None:
            self._first_asked = now
        self._asked[request] = now

    def came_back(self, request: int, *, answered: bool) -> None:
        """Note that a call has ended."""
        now = self._clock()
        asked = self._asked.pop(request, now)
        self._last_sign = now
        if answered:
            self._answers.append(now)
            self._longest = max(self._longest, now - asked)
            if self._first_answer is None and self._first_asked is not None:
                self._first_answer = now - self._first_asked

    def read(
        self, *, limit: int, slots: int, holding: tuple[str, float] | None, spent: Spent, down_since: str | None = None
    ) -> Pulse:
        """Return the throughput now."""
        now = self._clock()
        while self._answers and self._answers[0] < now - SPAN:
            self._answers.popleft()
        began = now if self._first_asked is None else self._first_asked
        oldest = now - next(iter(self._asked.values())) if self._asked else 0.0
        quiet = now - self._last_sign if self._asked else 0.0
        return Pulse(
            limit=limit,
            slots=slots,
            per_second=len(self._answers) / max(1.0, min(SPAN, now - began)),
            first_answer=self._first_answer,
            quiet=quiet,
            oldest=oldest,
            stuck=quiet > max(STUCK, UNUSUAL * self._longest),
            holding=None if holding is None else holding[0],
            holding_seconds=0.0 if holding is None else holding[1],
            spent=spent,
            down_since=down_since,
        )
