"""How often something has happened lately."""

from collections import deque


class Recent:
    """Counts events of the last ``span`` seconds."""

    def __init__(self, span: float) -> None:
        """Begin with none."""
        self._span = span
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Note one event."""
        self._times.append(now)

    def take_back(self) -> None:
        """Forget the latest event."""
        if self._times:
            self._times.pop()

    def count(self, now: float) -> int:
        """Return how many there were."""
        while self._times and self._times[0] < now - self._span:
            self._times.popleft()
        return len(self._times)

    def rate(self, now: float, since: float) -> float:
        """Return how many there were in a second, counted from ``since`` where that is not so long ago."""
        return self.count(now) / min(self._span, max(1.0, now - since))
