"""How many calls a second a server takes, found out from its refusals."""

from ants_engine.dispatch.limits.recent import Recent

BELOW = 0.95
"""The new pace, as a share of what was answered a second before the refusals."""
LEAST = 1 / 60
"""Calls a second; a server that takes fewer says how long to wait."""
MEASURED = 2.0
"""Seconds over which calls and answers are counted for that."""
NEAR = 0.97
"""The share of the refused pace that is approached quickly."""
APPROACH = 4.0
"""Seconds in which about two thirds of the way there are gone."""
GROWTH = 0.01
"""By how much the pace grows in a second beyond; it doubles for every `PATIENCE` seconds without being lowered."""
PATIENCE = 8.0
SEARCH = 0.4
"""By how much it grows in a second until an even pace has been refused once: the first refusals say little, since they
may be about calls that came in one go."""
FIRST = 1.0
"""Seconds after it was first bounded in which further refusals say nothing new."""
SETTLE = 0.2
"""Seconds without a call after a refusal that the pace does not explain."""
JUDGED = 10.0
"""Seconds over which refusals are held against calls."""
TOLERATED, EVIDENCE = 0.025, 3
"""Refusals that say nothing of the pace: so small a share of the calls, or fewer than so many."""
VAGUE = 0.1
"""Of refusals that may mean something else (503), a larger share says nothing of the pace."""
SLOW, CHANCE, ENOUGH, HOPELESS = 0.8, 0.02, 20, 0.35
"""Well below what the server has answered before (`SLOW`), a share of refusals from `CHANCE` to `HOPELESS`, seen over
`ENOUGH` calls, is not due to the pace: a server that many use refuses whatever one client does. To slow down for that
would end in standing still, so it is tolerated."""
FORGET = 30.0
"""Seconds after which what the server has answered before counts half."""
FALLEN = 4.0
"""So many times less than before is no chance: the server's limit has fallen."""
DEAR = 2.0
"""Seconds of a server's wish from which on a refusal is dear, and always counts."""
HOLD = 10.0
"""The pace does not go beyond what was refused for so many times the seconds that the server asks for: where a refusal
is dear, it is tried less often."""


class Pace:
    """No bound until the server refuses calls for being too fast; then just below what it was seen to take.

    From there it grows quickly until it is refused again, and from then on it soon comes near to what was refused, and
    then grows slowly (as in TCP BIC and CUBIC): a limit that was lifted is noticed, and a server that counts has little
    to refuse. Within some seconds of the first refusal the pace is within a few percent of what the server allows.
    """

    def __init__(self) -> None:
        """Begin without a bound."""
        self._rate: float | None = None
        self._too_fast = float("inf")
        self._began = 0.0
        self._bounded_at = self._lowered_at = float("-inf")
        self._grown_at = self._hold_until = 0.0
        self._next = self._step = 0.0
        self._sent, self._answered = Recent(MEASURED), Recent(MEASURED)
        self._calls, self._answers = Recent(JUDGED), Recent(JUDGED)
        self._refusals, self._vague = Recent(JUDGED), Recent(JUDGED)
        self._best, self._best_at = 0.0, 0.0
        self._slow_calls = self._slow_refusals = 0.0

    @property
    def rate(self) -> float | None:
        """Calls a second, or None while there is no bound."""
        return self._rate

    def opens(self, now: float) -> float:
        """Say when the next call may start."""
        return self._next if self._rate is not None else now

    def start(self, now: float) -> None:
        """Note that a call starts now."""
        self._began = self._began or now
        self._sent.add(now)
        self._calls.add(now)
        if self._rate is None:
            return
        self._grow(now)
        self._slow_calls += self._is_slow(now)
        self._step = 1.0 / self._rate
        # What a busy loop lets through a little late is made up for; a longer gap is no reason for a burst.
        self._next = max(self._next, now - self._step) + self._step

    def refund(self) -> None:
        """Take back the last start: the call was not made."""
        self._next -= self._step
        self._step = 0.0
        self._sent.take_back()
        self._calls.take_back()

    def succeeded(self, now: float) -> None:
        """Learn that a call was answered."""
        self._answered.add(now)
        self._answers.add(now)

    def refused(self, started: float, now: float, wish: float = 0.0, *, vague: bool = False) -> float | None:
        """Learn that a call came too soon.

        Args:
            started: when it was sent.
            now: when it was refused.
            wish: seconds that the server asks for.
            vague: the refusal may mean something else.

        Returns:
            The new pace, if that changed it.
        """
        (self._vague if vague else self._refusals).add(now)
        if started < self._lowered_at:
            # sent before the pace was last lowered: it says nothing of the new one
            return None
        if now < self._bounded_at + FIRST:
            self._settle(now)
            return None
        self._slow_refusals += self._is_slow(now) and not vague
        if wish <= DEAR and (self._is_vague(now) if vague else self._is_chance(now)):
            return None
        self._lowered_at = self._grown_at = now
        self._hold_until = now + HOLD * wish
        taken = self._answered.rate(now, self._began)
        if self._rate is None:
            self._bounded_at = now
            # when nothing has been answered yet, what was sent is all there is to go by
            self._rate = BELOW * max(LEAST, taken, self._sent.rate(now, self._began) / 2)
        elif self._rate < BELOW * taken:
            # slower than what was just taken: the server still counts what came before
            self._settle(now)
            return None
        else:
            self._too_fast = self._rate
            # half of it at the least: one quiet moment is no measure
            self._rate = max(LEAST, self._rate / 2, BELOW * min(self._rate, taken))
            # what was seen long ago counts less
            self._slow_calls /= 2
            self._slow_refusals /= 2
        self._next = max(self._next, now + 1.0 / self._rate)
        return self._rate

    def _settle(self, now: float) -> None:
        if self._rate is not None:
            self._next = max(self._next, now + max(SETTLE, 1.0 / self._rate))

    def _is_slow(self, now: float) -> bool:
        """Tell whether the pace is well below what the server has been seen to take."""
        answers = self._answers.rate(now, self._began)
        self._best *= 0.5 ** ((now - self._best_at) / FORGET)
        self._best_at = now
        if answers < self._best / FALLEN:
            # So much less comes back than before that the server's limit must have fallen.
            self._best = answers
            self._slow_calls = self._slow_refusals = 0.0
        self._best = max(self._best, answers)
        return self._rate is not None and self._rate < SLOW * self._best

    def _is_chance(self, now: float) -> bool:
        """Tell whether there are no more refusals than come whatever the pace."""
        refusals = self._refusals.count(now)
        tolerated = TOLERATED
        if self._slow_calls >= ENOUGH and CHANCE < (share := self._slow_refusals / self._slow_calls) < HOPELESS:
            tolerated += 1.5 * share
        return refusals < EVIDENCE or refusals <= tolerated * self._calls.count(now)

    def _is_vague(self, now: float) -> bool:
        refusals = self._vague.count(now)
        return refusals < EVIDENCE or refusals <= VAGUE * self._calls.count(now)

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
        quiet = now - max(self._lowered_at, self._hold_until)
        beyond = self._rate * GROWTH * passed * 2.0 ** (min(quiet, 5 * PATIENCE) / PATIENCE) if quiet > 0 else 0.0
        self._rate += max(near, beyond)
