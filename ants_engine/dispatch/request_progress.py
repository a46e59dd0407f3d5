"""What has happened to one request so far, as the wrappers report it."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["waiting", "asking", "storing", "pausing", "sharing"]
"""``waiting`` for its turn, ``asking`` the backend, ``storing`` the answer, ``pausing`` between two tries, or
``sharing``: another process is asking the same."""
Source: TypeAlias = Literal["store", "backend"]


class RequestProgress:
    """A request's way. Whoever made it is told of every change."""

    def __init__(self, on_change: Callable[["RequestProgress"], None] | None = None) -> None:
        """Tell ``on_change`` of changes, after each."""
        self.phase: Phase = "waiting"
        self.source: Source = "backend"
        """Where the ending came from."""
        self.attempts = 0
        """How often the backend was asked; a try of which nothing was sent is taken back."""
        self.end = math.inf
        """When the time for this request is over, by the monotonic clock; not set before the first try."""
        self.usage: tuple[int | None, int | None] = (None, None)
        """Prompt and completion tokens of the last try, whether its answer was of use or not."""
        self.answered = False
        """The last try has brought an answer of use."""
        self.unsent = False
        """Nothing of the last try was sent: its picture is gone, say, or there was no connection."""
        self.crowded = False
        """The last try was one too many at once: the server's wish for a pause is not about this request."""
        self.series: list[int] = []
        """The series of failures (see `Outage`) that tries of this request were part of, one entry a try."""
        self.failed_at = math.inf
        """When the first try began that was sent and found the server down, by the monotonic clock."""
        self.kept = False
        """How it failed is on disk."""
        self.abandoned = False
        """Nobody waits for it any more; what is under way may come home, and no other try is made."""
        self._on_change = on_change

    def update(self, *, phase: Phase | None = None, source: Source | None = None, attempts: int | None = None) -> None:
        """Set what is given."""
        self.phase = phase or self.phase
        self.source = source or self.source
        self.attempts = self.attempts if attempts is None else attempts
        if self._on_change is not None:
            self._on_change(self)

    def follow(self, other: "RequestProgress") -> None:
        """Take over what another trace says."""
        self.answered = other.answered
        self.update(phase=other.phase, source=other.source, attempts=other.attempts)
