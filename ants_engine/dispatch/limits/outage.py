"""A circuit breaker: tells a server that is down from a request that fails."""

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime

from ants_engine.dispatch.limits import constants
from ants_engine.dispatch.request import RequestProgress
from ants_engine.errors import BackendError, BackendTimeoutError, BackendUnavailableError

_LOG = logging.getLogger("ants_engine.dispatch")


class Outage:
    """Open while the server is down: one request at a time is sent as a probe, and all others wait.

    Any response of the server closes it, errors included; a timeout is no evidence. Attempts during an outage do not
    count against a request's ``attempts``. A request that fails so while the server answers others is itself at fault:
    from its second such failure on it is no evidence of an outage, and its attempts count.
    """

    def __init__(
        self,
        patience: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: random.Random | None = None,
        tell: Callable[..., None] | None = None,
    ) -> None:
        """Begin closed.

        Args:
            patience: seconds to wait for a server that has answered before (``dispatch.deadline``).
            clock: monotonic, in seconds.
            jitter: randomness of the pauses between probes.
            tell: called with the kind and facts of an event when it opens and closes.
        """
        self._patience = patience
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads load, protects nothing
        self._tell = tell or (lambda kind, **facts: None)
        self._since: float | None = None
        self._since_shown = ""
        self._ever = False
        self._alive_at = float("-inf")
        self._series = self._failures = 0
        self._first_at = 0.0
        self._outages: set[int] = set()
        self._last: BackendUnavailableError | None = None
        self._drained = False
        """It refuses connections, so the response to an earlier call is no evidence that it is up."""
        self._probing = False
        self._probes = 0
        self._next_probe, self._pause = 0.0, constants.OUTAGE_FIRST_PROBE

    @property
    def open(self) -> bool:
        """Whether the server counts as down."""
        return self._since is not None

    @property
    def failing(self) -> bool:
        """Whether the latest evidence is a failure."""
        return self._failures > 0

    @property
    def down_since(self) -> str | None:
        """Local time when the outage began, such as ``14:03:05``; None while closed."""
        return self._since_shown if self.open else None

    @property
    def expires(self) -> float:
        """When waiting ends; infinity while closed."""
        return float("inf") if self._since is None else self._since + self._waits

    @property
    def _waits(self) -> float:
        return self._patience if self._ever else min(constants.OUTAGE_FIRST_CONTACT, self._patience)

    def opens(self, now: float) -> float:
        """Return when the next call may start."""
        if self._since is None:
            return now
        return float("inf") if self._probing else self._next_probe

    def hopeless(self, now: float) -> bool:
        """Tell whether a call is rejected now: the outage has lasted too long, and no probe is due."""
        return now >= self.expires and self.opens(now) > now

    def probe(self) -> bool:
        """Note that a call starts; return whether it is a probe."""
        if self._since is None:
            return False
        self._probing = True
        self._probes += 1
        return True

    def probed(self, *, asked: bool) -> None:
        """Note that a probe has ended; call it after `learn`."""
        self._probing = False
        if not asked:
            self._next_probe = self._clock()
            return
        self._next_probe = self._clock() + self._pause * (0.5 + 0.5 * self._jitter.random())
        self._pause = min(constants.OUTAGE_LONGEST_PROBE, 2.0 * self._pause)

    def learn(self, progress: RequestProgress, started: float, error: BackendError | None) -> bool:
        """Learn how a call ended; return whether that opened the breaker.

        Args:
            progress: the request's.
            started: when the call began.
            error: how it ended; None for an answer.
        """
        if error is not None and not error.sent and not _is_down(error):
            return False
        if isinstance(error, BackendTimeoutError):
            return False
        now = self._clock()
        if not isinstance(error, BackendUnavailableError) or not error.down:
            if not (self._drained and started < self._first_at):
                self._answered(now)
            return False
        if error.sent:
            if self._alive_at >= progress.failed_at:
                return False
            progress.failed_at = min(progress.failed_at, started)
        progress.series.append(self._series)
        self._last = error
        if not self._failures:
            self._first_at = now
        self._failures += 1
        enough = self._failures >= constants.OUTAGE_EVIDENCE and started >= self._first_at
        if self.open or not (enough or not error.sent):
            return False
        self._drained = not error.sent
        self._begin(now)
        return True

    def excused(self, progress: RequestProgress) -> int:
        """Count the attempts of a request that were part of an outage."""
        return sum(series in self._outages for series in progress.series)

    def waits_for(self, progress: RequestProgress) -> bool:
        """Tell whether a request's last attempt was part of the current outage."""
        return self.open and bool(progress.series) and progress.series[-1] == self._series

    def error(self, limit: str = "") -> BackendUnavailableError:
        """Build the error of a request that has waited for too long.

        Args:
            limit: what ended its waiting; by default the breaker's own limit.
        """
        known = f"longer than {self._waits:g} s (dispatch.deadline)"
        if not self._ever:
            known = f"{self._waits:g} s, and has answered nothing in this run: is it started, and is its address right?"
        return BackendUnavailableError(
            f"{self._last}. The server has been down since {self._since_shown}, for {limit or known}"
        )

    def _begin(self, now: float) -> None:
        self._since = self._first_at
        began = datetime.now().astimezone().timestamp() - (now - self._first_at)
        self._since_shown = datetime.fromtimestamp(began).astimezone().strftime("%H:%M:%S")
        self._outages.add(self._series)
        self._probes, self._pause = 0, constants.OUTAGE_FIRST_PROBE
        self.probed(asked=True)
        _LOG.warning("the server is down since %s; probing it until it is back: %s", self._since_shown, self._last)
        self._tell("server_down", since=self._since_shown, because=str(self._last))

    def _answered(self, now: float) -> None:
        self._ever, self._alive_at = True, now
        if self._since is not None:
            seconds = now - self._since
            self._since = None
            self._drained = self._probing = False
            _LOG.warning("the server is back after %.0f s and %d probes", seconds, self._probes)
            self._tell("server_back", seconds=round(seconds, 1), probes=self._probes)
        if self._failures:
            self._series += 1
            self._failures = 0


def _is_down(error: BackendError) -> bool:
    return isinstance(error, BackendUnavailableError) and error.down
