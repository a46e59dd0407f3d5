"""How many calls may be with a server at once, found out by trying."""

from collections import Counter

START = 16
"""Calls at once to begin with, where the ceiling allows."""
SHRINK = 0.7
"""What is left of the window when the server has too much to do."""
FIRST_HOLD, LONGEST_HOLD = 2.0, 80.0
"""Seconds for which the window does not grow to where it was refused; twice as long each time that it is again."""
REFUTED, REMEMBERED = 3, 60.0
"""So many answers to calls that were sent with as many under way say that a refusal is not about how many there are,
and for so many seconds no refusal is taken for that again."""


class Window:
    """Slow start, additive increase, multiplicative decrease, as TCP does it (RFC 5681).

    It doubles in every round trip until the server first has too much to do; from then on it grows by one place a round
    trip. It grows only while all places are taken: a window that nobody fills says nothing of what the server takes.
    One round trip's worth of complaints shrinks it once. Where the server refuses what is too much (`refused`), what is
    still under way is what it takes: the window becomes that, and tries more only now and then.
    """

    def __init__(self, ceiling: int, start: int | None = None) -> None:
        """Begin with ``start`` places, or with few, and never have more than ``ceiling``."""
        self._ceiling = ceiling
        self._size = float(min(ceiling, START if start is None else start))
        self._slow_start = True
        self._shrunk_at = float("-inf")
        self._held, self._held_until, self._hold = float(ceiling), float("-inf"), FIRST_HOLD
        self._taken: Counter[int] = Counter()
        self._refuted_until = float("-inf")

    @property
    def limit(self) -> int:
        """Places there are now; at least one."""
        return max(1, int(self._size))

    @property
    def size(self) -> float:
        """The places, with what it has grown towards another; see `restore`."""
        return self._size

    def restore(self, size: float) -> None:
        """Go back to an earlier size: what was learned since says nothing."""
        self._size = max(self._size, size)

    def succeeded(self, *, full: bool, started: float = 0.0, now: float = 0.0, level: int = 0) -> None:
        """Learn that a call was answered, and whether all places were taken then.

        Args:
            full: all places were taken.
            started: when the call was sent.
            now: when it was answered.
            level: calls under way when it was sent, itself counted.
        """
        if started >= self._shrunk_at:
            self._taken[level] += 1
        if full:
            ceiling = min(self._ceiling, self._held) if now < self._held_until else self._ceiling
            grown = self._size + (1.0 if self._slow_start else 1.0 / self._size)
            self._size = max(self._size, min(ceiling, grown))

    def explains(self, started: float, now: float, others: int) -> bool:
        """Say whether a call may have been refused because of how many were under way.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: calls under way beside it then.
        """
        if now < self._refuted_until:
            return False
        if started < self._shrunk_at:
            return True
        taken = sum(count for level, count in self._taken.items() if level > others)
        if others > 0 and taken < REFUTED:
            return True
        self._refuted_until = now + REMEMBERED
        self._slow_start = True
        self._held_until = float("-inf")
        return False

    def refused(self, started: float, now: float, others: int) -> bool:
        """Learn that a call was one too many. Return whether that made the window smaller.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: calls under way beside it: these, the server has taken, or is about to refuse too.
        """
        before = self.limit
        taken = float(max(1, others))
        if started >= self._shrunk_at:
            self._slow_start = False
            self._size = max(self._size * SHRINK, min(self._size, taken))
            # refused again where it was before: the limit is there to stay
            again = self._held_until > float("-inf") and abs(taken - self._held) < 1.5
            self._hold = min(LONGEST_HOLD, 2.0 * self._hold) if again else FIRST_HOLD
            self._shrunk_at, self._taken = now, Counter()
        else:
            self._size = min(self._size, taken)
        self._size = max(1.0, self._size)
        self._held, self._held_until = float(self.limit), now + self._hold
        return self.limit < before

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
