"""Observers of a run: told how attempts and requests end, and of events."""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from ants_engine.common.progress import Listeners
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.protocol import JSON, Answer

_LOG = logging.getLogger("ants_engine.dispatch")


class Observer(Protocol):
    """Told what happens to requests, on the event loop, so it must not block. What it raises costs no answer."""

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """The coordinator is open. Called once.

        Args:
            facts: ``mode``, ``backend`` (its name), ``model`` (as the settings name it), ``identity`` (of the backend),
                ``slots``; no secrets.
        """
        ...

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """One call to the backend has ended.

        Args:
            request: what was asked.
            attempt: from 1, per request.
            seconds: how long this call took.
            ending: how it ended.
        """
        ...

    def ended(self, outcome: Outcome) -> None:
        """A request has ended. Called once for each."""
        ...

    def event(self, kind: str, **facts: JSON) -> None:
        """Anything else, such as ``limit_changed``, ``paused``, ``server_down`` or ``stuck``.

        ``progress`` comes every few seconds and once at the end.
        """
        ...

    def close(self, ending: str) -> None:
        """The end: ``done``, ``interrupted``, ``failed: StoreError``. Called once; may block."""
        ...


class Observers:
    """Several observers as one. One that raises is logged and then only closed."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        """Tell these, in this order."""
        self._all = list(observers)
        self._listening = _listeners(self._all)

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Tell all that the run begins."""
        self._listening.tell(lambda each: each.begin(facts))

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Tell all how a call to the backend ended."""
        self._listening.tell(lambda each: each.attempted(request, attempt, seconds, ending))

    def ended(self, outcome: Outcome) -> None:
        """Tell all how a request ended."""
        self._listening.tell(lambda each: each.ended(outcome))

    def event(self, kind: str, **facts: JSON) -> None:
        """Tell all of an event."""
        self._listening.tell(lambda each: each.event(kind, **facts))

    def close(self, ending: str) -> None:
        """Tell all that the run is over, also those that failed: they may hold a thread or a file."""
        closing, self._all = self._all, []
        self._listening = _listeners(closing)
        self._listening.tell(lambda each: each.close(ending))
        self._listening = _listeners(())


def _listeners(observers: Iterable[Observer]) -> Listeners[Observer]:
    return Listeners(observers, _LOG, "no answer is lost by it")
