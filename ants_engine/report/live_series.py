"""A series that grows without end and stays small: it is thinned out evenly, and its newest point is always there."""

from typing import Generic, TypeVar

T = TypeVar("T")

BOUND = 240
"""Points of a series, which is more than a figure has room to show apart."""


class Series(Generic[T]):
    """At most ``bound`` points and the newest, evenly spread over all that was added."""

    def __init__(self, bound: int = BOUND) -> None:
        """Begin with none."""
        self._bound = bound
        self._every = 1
        self._added = 0
        self._points: list[T] = []
        self._newest: list[T] = []

    def add(self, point: T) -> None:
        """Add a point."""
        self._newest = []
        if self._added % self._every == 0:
            self._points.append(point)
            if len(self._points) > self._bound:
                self._points = self._points[::2]
                self._every *= 2
        else:
            self._newest = [point]
        self._added += 1

    def points(self) -> list[T]:
        """Return the points, oldest first."""
        return [*self._points, *self._newest]
