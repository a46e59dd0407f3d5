"""A limit of so much in any sixty seconds, which the user has set."""

from collections import deque

SPAN = 60.0
"""Seconds."""


class Quota:
    """Counts what was taken in the last sixty seconds, and spreads it: a server counts by the second, too."""

    def __init__(self, limit: int, burst: float) -> None:
        """Allow ``limit`` in any sixty seconds, and at once no more than ``burst`` seconds' worth."""
        self._limit = limit
        self._rate = limit / SPAN
        self._burst = max(burst, 1.0 / self._rate)
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0
        self._level = 0.0
        """When all that was taken would be used up at an even rate."""

    def opens(self, now: float, amount: float) -> float:
        """Say when so much more may be taken. What is more than the limit in itself has to have the span to itself."""
        self._forget(now)
        amount = min(amount, self._limit)
        opens = max(now, self._level + min(amount / self._rate, self._burst) - self._burst)
        over = self._sum + amount - self._limit
        for when, taken in self._taken:
            if over <= 0:
                break
            over -= taken
            opens = max(opens, when + SPAN)
        return opens

    def take(self, now: float, amount: float) -> None:
        """Note that so much is taken now."""
        self._taken.append([now, amount])
        self._sum += amount
        self._level = max(self._level, now) + amount / self._rate

    def correct(self, when: float, taken: float, amount: float) -> None:
        """Note that what was taken at ``when`` was in truth another amount."""
        for entry in reversed(self._taken):
            if entry[0] == when and entry[1] == taken:
                entry[1] = amount
                self._sum += amount - taken
                self._level += (amount - taken) / self._rate
                return

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - SPAN:
            self._sum -= self._taken.popleft()[1]
