"""How many calls a second a server takes, found out from its refusals."""

from collections import deque

BELOW = 0.95
"""The new pace, as a share of what was answered a second before the refusal."""
LEAST = 1 / 60
"""Calls a second; a server that takes fewer says how long to wait."""
MEASURED = 2.0
"""Seconds over which calls and answers are counted."""
NEAR = 0.97
"""The share of the refused pace that is approached quickly."""
APPROACH = 4.0
"""Seconds in which about two thirds of the way there are gone."""
GROWTH = 0.01
"""By how much the pace grows in a second beyond; it doubles for every `PATIENCE` seconds without a refusal."""
PATIENCE = 8.0
SEARCH = 0.4
"""By how much it grows in a second until an even pace has been refused once: the first refusal says little, since it
may be about calls that came in one go."""
FIRST = 1.0
"""Seconds after the first refusal in which further ones say nothing new."""
TOLERATED, JUDGED = 0.04, 10.0
"""Refusals that say nothing of the pace, as a share of the calls in so many seconds: a server that many use refuses now
and then whatever one client does, and to slow down for each would end in standing still."""
SETTLE = 0.2
"""Seconds without a call after a refusal that the pace does not explain."""
DEAR = 2.0
"""Seconds of a server's wish from which on a refusal is dear, and never let pass as tolerable."""
HOLD = 10.0
"""The pace does not go beyond what was refused for so many times the seconds that the server asks for: where a
refusal is dear, it is tried less often."""
_KEPT = 4096


class Pace:
    """No bound until the server refuses a call for being too fast; then just below what it was seen to take.

    From there it grows quickly until it is refused again, and from then on it soon comes near to what was refused, and
    then grows slowly (as in TCP BIC and CUBIC): a limit that was lifted is noticed, and a server that counts has little
    to refuse. Within some seconds of the first refusal the pace is within a few percent of what the server allows.
    """

    def __init__(self) -> None:
        """Begin without a bound."""
        self._rate: float | None = None
        self._too_fast = float("inf")
        self._hold_until = 0.0
        self._bounded_at = 0.0
        self._grown_at = 0.0
        self._refused_at = float("-inf")
        self._next = 0.0
        self._step = 0.0
        self._sent: deque[float] = deque(maxlen=_KEPT)
        self._refusals: deque[float] = deque(maxlen=_KEPT)
        self._answered: deque[float] = deque(maxlen=_KEPT)
        self._began: float | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second, or None while there is no bound."""
        return self._rate

    def opens(self, now: float) -> float:
        """Say when the next call may start."""
        return self._next if self._rate is not None else now

    def start(self, now: float) -> None:
        """Note that a call starts now."""
        if self._began is None:
            self._began = now
        self._sent.append(now)
        if self._rate is None:
            return
        self._grow(now)
        self._step = 1.0 / self._rate
        # What a busy loop lets through a little late is made up for; a longer gap is no reason for a burst.
        self._next = max(self._next, now - self._step) + self._step

    def refund(self) -> None:
        """Take back the last start: the call was not made."""
        self._next -= self._step
        self._step = 0.0
        if self._sent:
            self._sent.pop()

    def succeeded(self, now: float) -> None:
        """Learn that a call was answered."""
        self._answered.append(now)

    def refused(self, started: float, now: float, wish: float = 0.0) -> float | None:
        """Learn that a call came too soon.

        Args:
            started: when it was sent.
            now: when it was refused.
            wish: seconds that the server asks for.

        Returns:
            The new pace, if that changed it.
        """
        self._refusals.append(now)
        if started < self._refused_at:
            # sent before the pace was last lowered: it says nothing of the new one
            return None
        if self._rate is not None and wish <= DEAR and now >= self._bounded_at + FIRST and self._tolerable(now):
            return None
        self._refused_at = now
        taken = self._a_second(self._answered, now)
        self._hold_until = now + HOLD * wish
        if self._rate is None:
            self._bounded_at = now
            # when nothing has been answered yet, what was sent is all there is to go by
            self._rate = BELOW * max(LEAST, taken, self._a_second(self._sent, now) / 2)
        elif self._rate < BELOW * taken or now < self._bounded_at + FIRST:
            # slower than what was just taken, or bounded just now: the server still counts what came before
            self._next = max(self._next, now + max(SETTLE, 1.0 / self._rate))
            return None
        else:
            self._too_fast = self._rate
            # half of it at the least: one quiet moment is no measure
            self._rate = max(LEAST, self._rate / 2, BELOW * min(self._rate, taken))
        self._grown_at = now
        self._next = max(self._next, now + 1.0 / self._rate)
        return self._rate

    def _tolerable(self, now: float) -> bool:
        while self._refusals[0] < now - JUDGED:
            self._refusals.popleft()
        calls = sum(1 for when in reversed(self._sent) if when >= now - JUDGED)
        return len(self._refusals) <= TOLERATED * calls

    def _a_second(self, times: deque[float], now: float) -> float:
        count = 0
        for when in reversed(times):
            if when < now - MEASURED:
                break
            count += 1
        began = now if self._began is None else self._began
        return count / min(MEASURED, max(1.0, now - began))

    def _grow(self, now: float) -> None:
        if self._rate is None:
            return
        # an idle hour must not become a leap
        passed = min(1.0, now - self._grown_at)
        self._grown_at = now
        if self._too_fast == float("inf"):
            self._rate *= 1.0 + SEARCH * passed
            return
        near = max(0.0, NEAR * self._too_fast - self._rate) * passed / APPROACH
        quiet = now - max(self._refused_at, self._hold_until)
        beyond = self._rate * GROWTH * passed * 2.0 ** (min(quiet, 5 * PATIENCE) / PATIENCE) if quiet > 0 else 0.0
        self._rate += max(near, beyond)
