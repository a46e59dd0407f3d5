"""How far a run is and whether it moves: counts, answers per second, what it waits for."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ants_engine.dispatch.limits.budget import Spent


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one coordinator, at one moment."""

    asked: int = 0
    """Handed in so far, less those that were cancelled."""
    answered: int = 0
    """Ended with an answer, from wherever."""
    from_store: int = 0
    """Of these, out of the store."""
    failed: int = 0
    """Ended with an error."""
    in_flight: int = 0
    """With the backend right now."""
    storing: int = 0
    """Answered, and on the way to the disk."""
    retrying: int = 0
    """Pausing before another try."""
    sharing: int = 0
    """Being asked by another process that has the same store."""

    @property
    def waiting(self) -> int:
        """For a slot, or for the store."""
        busy = self.in_flight + self.storing + self.retrying + self.sharing
        return self.asked - self.answered - self.failed - busy


SPAN = 30.0
"""Seconds over which answers are counted for the rate."""
STUCK = 60.0
"""Seconds without a sign of life, at the least, after which a run is called stuck."""
UNUSUAL = 5.0
"""... and so many times the longest that an answer has taken so far."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """A coordinator's liveliness at one moment."""

    limit: int
    """Requests that may be with the backend at once, as it now is."""
    slots: int
    """The most that this may become."""
    per_second: float
    """Answers a second from the backend, over the last half minute."""
    first_answer: float | None
    """Seconds from the first question to the backend to its first answer."""
    quiet: float
    """Seconds since anything last came from the backend, while something is with it."""
    oldest: float
    """Seconds that the oldest question has been with the backend."""
    stuck: bool
    """Something is with the backend, and it has been quiet for unusually long."""
    holding: str | None
    """What those who wait wait for, if it is not a place: a server's wish, a rate, a limit that the user set."""
    holding_seconds: float
    """For how long still."""
    spent: Spent
    """What was used up."""
    down_since: str | None = None
    """The local time since when the server is down and is being probed; None while it is not."""

    def in_words(self) -> str:
        """Say it in a few words, for a progress bar."""
        parts = [f"{self.per_second:.2g}/s"] if self.per_second else []
        if self.stuck:
            parts.append(f"nothing has come for {self.quiet:.0f} s: stuck?")
        if self.down_since is not None:
            parts.append(f"server down since {self.down_since}, probing")
        if self.holding is not None and self.holding_seconds >= 1:
            parts.append(f"held by {self.holding} for {self.holding_seconds:.0f} s")
        return ", ".join(parts)


class ThroughputMonitor:
    """Is told when questions go and when something comes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing."""
        self._clock = clock
        # in the order in which they went, so that the oldest is the first
        self._asked: dict[int, float] = {}
        self._answers: deque[float] = deque(maxlen=100_000)
        self._first_asked: float | None = None
        self._first_answer: float | None = None
        self._last_sign = 0.0
        self._longest = 0.0

    def asking(self, request: int) -> None:
        """Note that a question goes to the backend; ``request`` tells it from others."""
        now = self._clock()
        if not self._asked:
            self._last_sign = now
        if self._first_asked is None:
            self._first_asked = now
        self._asked[request] = now

    def came_back(self, request: int, *, answered: bool) -> None:
        """Note that the backend is done with a question."""
        now = self._clock()
        asked = self._asked.pop(request, now)
        self._last_sign = now
        if answered:
            self._answers.append(now)
            self._longest = max(self._longest, now - asked)
            if self._first_answer is None and self._first_asked is not None:
                self._first_answer = now - self._first_asked

    def read(
        self,
        *,
        limit: int,
        slots: int,
        holding: tuple[str, float] | None,
        spent: Spent,
        down_since: str | None = None,
    ) -> Pulse:
        """Take the pulse."""
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
