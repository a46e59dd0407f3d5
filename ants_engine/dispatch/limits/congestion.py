"""Congestion control: how many calls at once (`Window`) and how many a second (`Pace`) a server takes."""

from collections import Counter, deque

from ants_engine.dispatch.limits import constants


class Window:
    """AIMD: slow start, additive increase, multiplicative decrease, as in TCP (RFC 5681).

    It doubles every round trip until the server is first overloaded, then grows by one call a round trip, and only
    while it is full. All failures of one round trip shrink it once. When the server refuses surplus calls (`refused`),
    the window becomes what is still in flight, and a larger one is probed with exponential backoff.
    """

    def __init__(self, ceiling: int, start: int | None = None) -> None:
        """Begin with ``start`` calls at once (`WINDOW_START` by default), at most ``ceiling``."""
        self._ceiling = ceiling
        self._size = float(min(ceiling, constants.WINDOW_START if start is None else start))
        self._slow_start = True
        self._shrunk_at = float("-inf")
        self._held, self._held_until, self._hold = float(ceiling), float("-inf"), constants.WINDOW_FIRST_HOLD
        self._taken: Counter[int] = Counter()
        self._refuted_until = float("-inf")

    @property
    def limit(self) -> int:
        """Calls at once, as it now is; at least one."""
        return max(1, int(self._size))

    @property
    def size(self) -> float:
        """The same as a fraction; see `restore`."""
        return self._size

    def restore(self, size: float) -> None:
        """Return to an earlier size, because what was learned since is void."""
        self._size = max(self._size, size)

    def succeeded(self, *, full: bool, started: float = 0.0, now: float = 0.0, level: int = 0) -> None:
        """Learn that a call was answered.

        Args:
            full: the window was full.
            started: when the call was sent.
            now: when it was answered.
            level: calls in flight when it was sent, itself included.
        """
        if started >= self._shrunk_at:
            self._taken[level] += 1
        if full:
            ceiling = min(self._ceiling, self._held) if now < self._held_until else self._ceiling
            grown = self._size + (1.0 if self._slow_start else 1.0 / self._size)
            self._size = max(self._size, min(ceiling, grown))

    def explains(self, started: float, now: float, others: int) -> bool:
        """Tell whether a call may have been refused because of how many were in flight.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: other calls in flight then.
        """
        if now < self._refuted_until:
            return False
        if started < self._shrunk_at:
            return True
        taken = sum(count for level, count in self._taken.items() if level > others)
        if others > 0 and taken < constants.WINDOW_REFUTED:
            return True
        self._refuted_until = now + constants.WINDOW_REMEMBERED
        self._slow_start = True
        self._held_until = float("-inf")
        return False

    def refused(self, started: float, now: float, others: int) -> bool:
        """Learn that a call exceeded the server's concurrency. Return whether that made the window smaller.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: other calls in flight, which the server has accepted or is about to refuse.
        """
        before = self.limit
        taken = float(max(1, others))
        if started >= self._shrunk_at:
            self._slow_start = False
            self._size = max(self._size * constants.WINDOW_SHRINK, min(self._size, taken))
            # refused again at the same size: the limit is permanent
            again = self._held_until > float("-inf") and abs(taken - self._held) < 1.5
            self._hold = min(constants.WINDOW_LONGEST_HOLD, 2.0 * self._hold) if again else constants.WINDOW_FIRST_HOLD
            self._shrunk_at, self._taken = now, Counter()
        else:
            self._size = min(self._size, taken)
        self._size = max(1.0, self._size)
        self._held, self._held_until = float(self.limit), now + self._hold
        return self.limit < before

    def overloaded(self, started: float, now: float, *, paced: bool = False) -> bool:
        """Learn that a call overloaded the server. Return whether that made the window smaller.

        Args:
            started: when the call was sent.
            now: when it failed.
            paced: the pace limits the load from now on, so the window may grow fast again.
        """
        self._slow_start = self._slow_start and paced
        if started < self._shrunk_at:
            return False
        before = self.limit
        self._size = max(1.0, self._size * constants.WINDOW_SHRINK)
        self._shrunk_at = now
        return self.limit < before


class Recent:
    """Counts events in a sliding window of ``span`` seconds."""

    def __init__(self, span: float) -> None:
        """Begin with none."""
        self._span = span
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count one event."""
        self._times.append(now)

    def take_back(self) -> None:
        """Remove the latest event."""
        if self._times:
            self._times.pop()

    def count(self, now: float) -> int:
        """Return their number."""
        while self._times and self._times[0] < now - self._span:
            self._times.popleft()
        return len(self._times)

    def rate(self, now: float, since: float) -> float:
        """Return events per second, measured from ``since`` if that is within the window."""
        return self.count(now) / min(self._span, max(1.0, now - since))


class Pace:
    """Finds a server's rate limit: unbounded until calls are refused, then just below the rate that was answered.

    From there it grows fast until it is refused again; after that it soon comes near the refused rate and then grows
    slowly (as in TCP BIC and CUBIC), so that a lifted limit is noticed and little is refused. Within seconds of the
    first refusal it is within a few percent of the server's limit.
    """

    def __init__(self) -> None:
        """Begin without a bound."""
        self._rate: float | None = None
        self._too_fast = float("inf")
        self._began = 0.0
        self._bounded_at = self._lowered_at = float("-inf")
        self._grown_at = self._hold_until = 0.0
        self._next = self._step = 0.0
        self._sent, self._answered = Recent(constants.PACE_MEASURED), Recent(constants.PACE_MEASURED)
        self._calls, self._answers = Recent(constants.PACE_JUDGED), Recent(constants.PACE_JUDGED)
        self._refusals, self._vague = Recent(constants.PACE_JUDGED), Recent(constants.PACE_JUDGED)
        self._best, self._best_at = 0.0, 0.0
        self._slow_calls = self._slow_refusals = 0.0

    @property
    def rate(self) -> float | None:
        """Calls per second; None while unbounded."""
        return self._rate

    def opens(self, now: float) -> float:
        """Return when the next call may start."""
        return self._next if self._rate is not None else now

    def start(self, now: float) -> None:
        """Note that a call starts."""
        self._began = self._began or now
        self._sent.add(now)
        self._calls.add(now)
        if self._rate is None:
            return
        self._grow(now)
        self._slow_calls += self._is_slow(now)
        self._step = 1.0 / self._rate
        # a delay of the event loop is made up for; a longer gap allows no burst
        self._next = max(self._next, now - self._step) + self._step

    def refund(self) -> None:
        """Undo the last `start`: nothing was sent."""
        self._next -= self._step
        self._step = 0.0
        self._sent.take_back()
        self._calls.take_back()

    def succeeded(self, now: float) -> None:
        """Learn that a call was answered."""
        self._answered.add(now)
        self._answers.add(now)

    def refused(self, started: float, now: float, wish: float = 0.0, *, vague: bool = False) -> float | None:
        """Learn that a call was rate limited.

        Args:
            started: when it was sent.
            now: when it was refused.
            wish: seconds of ``Retry-After``.
            vague: the refusal may mean something else (503).

        Returns:
            The new rate, if that changed it.
        """
        (self._vague if vague else self._refusals).add(now)
        if started < self._lowered_at:
            # sent before the rate was last lowered
            return None
        if now < self._bounded_at + constants.PACE_FIRST:
            self._settle(now)
            return None
        self._slow_refusals += self._is_slow(now) and not vague
        if wish <= constants.PACE_DEAR and (self._is_vague(now) if vague else self._is_chance(now)):
            return None
        self._lowered_at = self._grown_at = now
        self._hold_until = now + constants.PACE_HOLD * wish
        taken = self._answered.rate(now, self._began)
        if self._rate is None:
            self._bounded_at = now
            # nothing answered yet: go by what was sent
            self._rate = constants.PACE_BELOW * max(constants.PACE_LEAST, taken, self._sent.rate(now, self._began) / 2)
        elif self._rate < constants.PACE_BELOW * taken:
            # slower than what was just answered: the server still counts earlier calls
            self._settle(now)
            return None
        else:
            self._too_fast = self._rate
            # at least half of it: a short lull is no measure
            self._rate = max(constants.PACE_LEAST, self._rate / 2, constants.PACE_BELOW * min(self._rate, taken))
            # old evidence counts less
            self._slow_calls /= 2
            self._slow_refusals /= 2
        self._next = max(self._next, now + 1.0 / self._rate)
        return self._rate

    def _settle(self, now: float) -> None:
        if self._rate is not None:
            self._next = max(self._next, now + max(constants.PACE_SETTLE, 1.0 / self._rate))

    def _is_slow(self, now: float) -> bool:
        """Tell whether the rate is well below the best answered one."""
        answers = self._answers.rate(now, self._began)
        self._best *= 0.5 ** ((now - self._best_at) / constants.PACE_FORGET)
        self._best_at = now
        if answers < self._best / constants.PACE_FALLEN:
            # far fewer answers than before: the server's limit has dropped
            self._best = answers
            self._slow_calls = self._slow_refusals = 0.0
        self._best = max(self._best, answers)
        return self._rate is not None and self._rate < constants.PACE_SLOW * self._best

    def _is_chance(self, now: float) -> bool:
        """Tell whether refusals are so few that they may not depend on the rate."""
        refusals = self._refusals.count(now)
        tolerated = constants.PACE_TOLERATED
        share = self._slow_refusals / self._slow_calls if self._slow_calls >= constants.PACE_ENOUGH else 0.0
        if constants.PACE_CHANCE < share < constants.PACE_HOPELESS:
            tolerated += 1.5 * share
        return refusals < constants.PACE_EVIDENCE or refusals <= tolerated * self._calls.count(now)

    def _is_vague(self, now: float) -> bool:
        refusals = self._vague.count(now)
        return refusals < constants.PACE_EVIDENCE or refusals <= constants.PACE_VAGUE * self._calls.count(now)

    def _grow(self, now: float) -> None:
        if self._rate is None:
            return
        # an idle hour must not become a jump
        passed = min(1.0, now - self._grown_at)
        self._grown_at = now
        if self._too_fast == float("inf"):
            self._rate *= 1.0 + constants.PACE_SEARCH * passed
            return
        near = max(0.0, constants.PACE_NEAR * self._too_fast - self._rate) * passed / constants.PACE_APPROACH
        quiet = now - max(self._lowered_at, self._hold_until)
        beyond = 0.0
        if quiet > 0:
            beyond = self._rate * constants.PACE_GROWTH * passed * 2.0 ** min(quiet / constants.PACE_PATIENCE, 5.0)
        self._rate += max(near, beyond)
