"""Who is told of what happens to requests: the run folder, telemetry, and whatever else listens."""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from ants_engine.common.progress import Listeners
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.protocol import JSON, Answer

_LOG = logging.getLogger("ants_engine.dispatch")


class Observer(Protocol):
    """Told of what happens to requests, on the event loop.

    It must be quick: whatever may wait is done elsewhere. What it raises costs no answer; `Observers` sees to that.
    """

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Take note that the coordinator is open. Called once.

        Args:
            facts: ``mode``, ``backend`` (its name), ``model`` (as the settings declare it), ``identity`` (what the
                backend says it is), ``slots``; more is welcome, and nothing of it is a secret.
        """
        ...

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        """Take note of one call to the backend, when it ends.

        Args:
            request: what was asked.
            attempt: from 1, per request.
            seconds: how long this call took.
            ending: what came back.
        """
        ...

    def ended(self, outcome: Outcome) -> None:
        """Take note of how a request ended. Called once for each."""
        ...

    def event(self, kind: str, **facts: JSON) -> None:
        """Take note of anything else, such as ``limit_changed``, ``paused``, ``server_down`` or ``stuck``.

        ``progress`` is for those who watch from outside: ``asked``, ``in_flight``, ``retrying``, ``waiting`` and
        ``limit``, every few seconds and once at the end.
        """
        ...

    def close(self, ending: str) -> None:
        """Take note of the end: ``done``, ``interrupted``, ``failed: StoreError``. Called once; may wait for a disk."""
        ...


class Observers:
    """Several observers as one. One that raises is logged once and told nothing more, except to close."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        """Tell these, in this order."""
        self._all = list(observers)
        self._listening = _listeners(self._all)

    def begin(self, facts: Mapping[str, JSON]) -> None:
        """Tell all that it starts."""
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
        """Tell all that it is over, those that failed too: they may hold a thread or a file."""
        closing, self._all = self._all, []
        self._listening = _listeners(closing)
        self._listening.tell(lambda each: each.close(ending))
        self._listening = _listeners(())


def _listeners(observers: Iterable[Observer]) -> Listeners[Observer]:
    return Listeners(observers, _LOG, "no answer is lost by it")
