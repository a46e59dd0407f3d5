"""How many calls may be with a server at once, found out by trying."""

START = 16
"""Calls at once to begin with, where the ceiling allows."""
SHRINK = 0.7
"""What is left of the window when the server has too much to do."""


class Window:
    """Slow start, additive increase, multiplicative decrease, as TCP does it (RFC 5681).

    It doubles in every round trip until the server first has too much to do; from then on it grows by one place a round
    trip. It grows only while all places are taken: a window that nobody fills says nothing of what the server takes.
    One round trip's worth of complaints shrinks it once.
    """

    def __init__(self, ceiling: int, start: int | None = None) -> None:
        """Begin with ``start`` places, or with few, and never have more than ``ceiling``."""
        self._ceiling = ceiling
        self._size = float(min(ceiling, START if start is None else start))
        self._slow_start = True
        self._shrunk_at = float("-inf")

    @property
    def limit(self) -> int:
        """Places there are now; at least one."""
        return max(1, int(self._size))

    def succeeded(self, *, full: bool) -> None:
        """Learn that a call was answered, and whether all places were taken then."""
        if full:
            self._size = min(self._ceiling, self._size + (1.0 if self._slow_start else 1.0 / self._size))

    def overloaded(self, started: float, now: float, *, paced: bool = False) -> bool:
        """Learn that a call, sent at ``started``, was too much. Return whether that made the window smaller.

        Args:
            started: when the call was sent.
            now: when it failed.
            paced: from now on it is the pace that keeps the load down, and the window may grow quickly again.
        """
        self._slow_start = self._slow_start and paced
        if started < self._shrunk_at:
            return False
        before = self.limit
        self._size = max(1.0, self._size * SHRINK)
        self._shrunk_at = now
        return self.limit < before
