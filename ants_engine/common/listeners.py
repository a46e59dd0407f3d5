"""Several listeners as one, none of which can do harm."""

import logging
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Listeners(Generic[T]):
    """Tells all. One that raises is logged once and told nothing more."""

    def __init__(self, listeners: Iterable[T], log: logging.Logger, promise: str) -> None:
        """Tell these, in this order.

        Args:
            listeners: who is told.
            log: where a warning goes.
            promise: what does not suffer from it, for that warning.
        """
        self._listening = tuple(listeners)
        self._log = log
        self._promise = promise

    def tell(self, tell: Callable[[T], None]) -> None:
        """Tell each, by calling ``tell`` with it."""
        for listener in self._listening:
            try:
                tell(listener)
            except Exception as error:
                # only the kind: a foreign error's text, and the frames of its traceback, may hold pictures or keys
                self._log.warning(
                    "%s raised %s and is told nothing more; %s",
                    type(listener).__name__,
                    type(error).__name__,
                    self._promise,
                )
                self._listening = tuple(each for each in self._listening if each is not listener)
