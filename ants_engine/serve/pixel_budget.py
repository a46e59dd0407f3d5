"""How many pixels are decoded at a time, by all threads together: a small file may hold many."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Pixels that are decoded now. One picture alone is always let in, however large."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self._door = threading.Lock()
        self._changed = threading.Condition()
        self.held = 0
        """How many there are."""

    @contextmanager
    def turn(self) -> Iterator["PixelTurn"]:
        """Decode one picture in the block; what its turn takes is given back at the end."""
        turn = PixelTurn(self)
        try:
            yield turn
        finally:
            with self._changed:
                self.held -= turn.held
                self._changed.notify_all()

    def take(self, count: int) -> None:
        """Wait until there is room."""
        # who waits there is not overtaken: small pictures would keep a large one out for ever
        with self._door, self._changed:
            self._changed.wait_for(lambda: not self.held or self.held + count <= self._limit)
            self.held += count


class PixelTurn:
    """What one picture takes of a `PixelBudget`."""

    def __init__(self, budget: PixelBudget) -> None:
        """Take nothing yet."""
        self._budget = budget
        self.held = 0
        """Pixels."""

    def take(self, count: int) -> None:
        """Wait for room, once: a picture that is decoded again has it."""
        if not self.held:
            self._budget.take(count)
            self.held = count
