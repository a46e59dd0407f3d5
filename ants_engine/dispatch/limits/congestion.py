"""Congestion control: how many calls at once (`Window`) and how many a second (`Pace`) a server takes."""

from collections import Counter, deque

START = 16
"""Calls at once to begin with, where the ceiling allows."""
SHRINK = 0.7
"""What is left of the window when the server has too much to do."""
FIRST_HOLD, LONGEST_HOLD = 2.0, 80.0
"""Seconds for which the window does not grow to where it was refused; twice as long each time that it is again."""
REFUTED, REMEMBERED = 3, 60.0
"""So many answers to calls that were sent with as many under way say that a refusal is not about how many there are,
and for so many seconds no refusal is taken for that again."""


class Window:
    """Slow start, additive increase, multiplicative decrease, as TCP does it (RFC 5681).

    It doubles in every round trip until the server first has too much to do; from then on it grows by one place a round
    trip. It grows only while all places are taken: a window that nobody fills says nothing of what the server takes.
    One round trip's worth of complaints shrinks it once. Where the server refuses what is too much (`refused`), what is
    still under way is what it takes: the window becomes that, and tries more only now and then.
    """

    def __init__(self, ceiling: int, start: int | None = None) -> None:
        """Begin with ``start`` places, or with few, and never have more than ``ceiling``."""
        self._ceiling = ceiling
        self._size = float(min(ceiling, START if start is None else start))
        self._slow_start = True
        self._shrunk_at = float("-inf")
        self._held, self._held_until, self._hold = float(ceiling), float("-inf"), FIRST_HOLD
        self._taken: Counter[int] = Counter()
        self._refuted_until = float("-inf")

    @property
    def limit(self) -> int:
        """Places there are now; at least one."""
        return max(1, int(self._size))

    @property
    def size(self) -> float:
        """The places, with what it has grown towards another; see `restore`."""
        return self._size

    def restore(self, size: float) -> None:
        """Go back to an earlier size: what was learned since says nothing."""
        self._size = max(self._size, size)

    def succeeded(self, *, full: bool, started: float = 0.0, now: float = 0.0, level: int = 0) -> None:
        """Learn that a call was answered, and whether all places were taken then.

        Args:
            full: all places were taken.
            started: when the call was sent.
            now: when it was answered.
            level: calls under way when it was sent, itself counted.
        """
        if started >= self._shrunk_at:
            self._taken[level] += 1
        if full:
            ceiling = min(self._ceiling, self._held) if now < self._held_until else self._ceiling
            grown = self._size + (1.0 if self._slow_start else 1.0 / self._size)
            self._size = max(self._size, min(ceiling, grown))

    def explains(self, started: float, now: float, others: int) -> bool:
        """Say whether a call may have been refused because of how many were under way.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: calls under way beside it then.
        """
        if now < self._refuted_until:
            return False
        if started < self._shrunk_at:
            return True
        taken = sum(count for level, count in self._taken.items() if level > others)
        if others > 0 and taken < REFUTED:
            return True
        self._refuted_until = now + REMEMBERED
        self._slow_start = True
        self._held_until = float("-inf")
        return False

    def refused(self, started: float, now: float, others: int) -> bool:
        """Learn that a call was one too many. Return whether that made the window smaller.

        Args:
            started: when it was sent.
            now: when it was refused.
            others: calls under way beside it: these, the server has taken, or is about to refuse too.
        """
        before = self.limit
        taken = float(max(1, others))
        if started >= self._shrunk_at:
            self._slow_start = False
            self._size = max(self._size * SHRINK, min(self._size, taken))
            # refused again where it was before: the limit is there to stay
            again = self._held_until > float("-inf") and abs(taken - self._held) < 1.5
            self._hold = min(LONGEST_HOLD, 2.0 * self._hold) if again else FIRST_HOLD
            self._shrunk_at, self._taken = now, Counter()
        else:
            self._size = min(self._size, taken)
        self._size = max(1.0, self._size)
        self._held, self._held_until = float(self.limit), now + self._hold
        return self.limit < before

    def overloaded(self, started: float, now: float, *, paced: bool = False) -> bool:
        """Learn that a call, sent at ``started``, was too much. Return whether that made the window smaller.

        Args:
            started: when the call was sent.
            now: when it failed.
            paced: from now on it is the pace that keeps the load down, and the window may grow quickly again.
        """
        self._slow_start = self._slow_start and paced
        if started < self._shrunk_at:
            return False
        before = self.limit
        self._size = max(1.0, self._size * SHRINK)
        self._shrunk_at = now
        return self.limit < before


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
