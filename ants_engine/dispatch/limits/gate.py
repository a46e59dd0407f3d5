"""The rate limiter: decides when the next call may go to the backend."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ants_engine.dispatch.limits.budget import Quota, TokenEstimate
from ants_engine.dispatch.limits.congestion import Pace, Window
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.dispatch.retry import CommonCause
from ants_engine.errors import BackendError, BackendTimeoutError, OverloadedError, RateLimitError, TransientBackendError
from ants_engine.protocol import Answer

MEANT_FOR_ALL = 2.0
"""Seconds. A server that asks for a longer pause is not asked by any other request meanwhile; a shorter one concerns
the request that was refused."""
LONGEST_HOLD = 60.0
"""Seconds of a server's wish that count when the pace holds still after a refusal."""
REQUESTS_AT_ONCE, TOKENS_AT_ONCE = 1.0, 10.0
"""Seconds' worth of a limit per minute that may be used in one go."""
REFUSED = (RateLimitError, OverloadedError)
"""What says that there was too much, at once or in a while: proxies answer either with 429, and either with 503."""

Tell = Callable[..., None]


class Pass:
    """A call's leave to go. Give it back to the gate that gave it."""

    __slots__ = ("asked", "cancelled", "entered", "level", "probe", "tokens")

    def __init__(self, entered: float, tokens: int) -> None:
        self.entered = entered
        self.tokens = tokens
        """What the call was taken to cost."""
        self.asked = True
        """Set to False when nothing was sent: then it counts against no limit."""
        self.cancelled = False
        """Set to True when nobody waited for the call's end: then nothing can be learned from it."""
        self.level = 1
        """Calls under way when it was sent, itself counted."""
        self.probe = False
        """It goes to see whether a server that was down is back."""


class Gate(Protocol):
    """Lets calls through. A gate that adapts learns from how they ended."""

    outage: Outage
    """Whether the server is down."""

    async def enter(self, *, again: bool, tokens: int) -> Pass:
        """Wait for leave; first come, first served, and who was refused before goes first."""
        ...

    def learn_outage(self, trace: RequestProgress, given: Pass, error: BackendError | None) -> None:
        """Say whether the server is there, before `leave`."""
        ...

    def leave(self, given: Pass, error: BackendError | None, tokens: int | None) -> bool:
        """Say how a call ended, and how many tokens it cost if that is known.

        Returns:
            Whether it was refused for being one too many at once: then a place is what it has to wait for.
        """
        ...


class AdaptiveGate:
    """Finds out by itself how much a server takes, within the limits that the settings give.

    - As many calls at once as `Window` says: it grows while all places are taken, and shrinks when the server has too
      much to do.
    - As many a second as `Pace` says: without bound until the server refuses what the window does not explain. A 429 or
      503 may mean either; that fewer at once are too many is tried first, since it is found out within a round trip.
    - None while the server's ``Retry-After`` runs, where it asks for more than two seconds and is not about how many
      are under way.
    - One as a probe, now and then, while the server is down (`Outage`).
    - Never more in a minute than `Quota` allows, if the user has set a limit.

    Belongs to the event loop that it is first used in.
    """

    def __init__(
        self,
        ceiling: int,
        *,
        start: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        outage: Outage | None = None,
        clock: Callable[[], float] = time.monotonic,
        tell: Tell | None = None,
    ) -> None:
        """Begin with few calls at once.

        Args:
            ceiling: calls at once, at most.
            start: calls at once to begin with; the ceiling where the backend runs here and needs no caution.
            requests_per_minute: never more than so many calls in any 60 seconds.
            tokens_per_minute: never more than so many tokens in any 60 seconds, as far as they can be foreseen.
            outage: knows whether the server is down.
            clock: seconds that only grow.
            tell: called with a kind and facts when something changes that a reader of the run should know.
        """
        self.outage = outage or Outage(math.inf, clock=clock)
        self.window = Window(ceiling, start)
        self.pace = Pace()
        self._quotas = [
            (Quota(requests_per_minute, REQUESTS_AT_ONCE), False) if requests_per_minute else None,
            (Quota(tokens_per_minute, TOKENS_AT_ONCE), True) if tokens_per_minute else None,
        ]
        self._clock = clock
        self._tell = tell or (lambda kind, **facts: None)
        self._closed_until = 0.0
        self._again: deque[_Waiter] = deque()
        self._fresh: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._size_before = self.window.size
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Calls that may be with the backend at once, as it now is."""
        return self.window.limit

    def holding(self) -> tuple[str, float] | None:
        """Say what those who wait wait for, other than a place, and for how many seconds more."""
        now = self._clock()
        if not (self._again or self._fresh) or self.outage.open:
            return None
        until, why = self._opens(now, self._first().tokens)
        return (why, until - now) if until > now else None

    async def enter(self, *, again: bool = False, tokens: int = 0) -> Pass:
        """Wait for leave.

        Args:
            again: this request was asked before: it goes before those that were not.
            tokens: what the call is taken to cost.

        Raises:
            BackendUnavailableError: the server has been down for too long.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        (self._again if again else self._fresh).append(waiter)
        self._admit()
        try:
            return await waiter.given
        except asyncio.CancelledError:
            if waiter.given.done() and not waiter.given.cancelled() and waiter.given.exception() is None:
                # let in and cancelled at the same moment
                unused = waiter.given.result()
                unused.asked = False
                self.leave(unused, None, None)
            raise

    def leave(self, given: Pass, error: BackendError | None = None, tokens: int | None = None) -> bool:
        """Give the place back, and learn from how the call ended."""
        now = self._clock()
        full = self.in_flight >= self.window.limit
        self.in_flight -= 1
        if given.probe:
            self.outage.probed(asked=given.asked or (error is not None and not given.cancelled))
        crowded = False
        if not given.asked:
            self._refund(given)
        else:
            if not given.cancelled:
                crowded = self._learn(given, error, now, full=full)
            for quota in self._quotas:
                if quota is not None and quota[1] and tokens is not None:
                    quota[0].correct(given.entered, given.tokens, tokens)
        self._admit()
        return crowded

    def learn_outage(self, trace: RequestProgress, given: Pass, error: BackendError | None) -> None:
        """Tell the outage how a call ended, before `leave`: what an outage has taught is forgotten."""
        if not self.outage.failing:
            self._size_before = self.window.size
        if self.outage.learn(trace, given.entered, error):
            self.window.restore(self._size_before)

    def _learn(self, given: Pass, error: BackendError | None, now: float, *, full: bool) -> bool:
        before, others = self.window.limit, self.in_flight
        if error is None:
            self.pace.succeeded(now)
            full = full or bool(self._fresh or self._again)
            self.window.succeeded(full=full, started=given.entered, now=now, level=given.level)
            return False
        wish = (error.retry_after if isinstance(error, TransientBackendError) else None) or 0.0
        smaller = crowded = False
        if isinstance(error, BackendTimeoutError):
            smaller = self.window.overloaded(given.entered, now)
        elif isinstance(error, REFUSED) and not self.outage.open:
            # A server that refuses calls which come at an even pace means the pace, not how many are under way.
            paced = self.pace.rate is not None
            crowded = not paced and self.window.explains(given.entered, now, others)
            if crowded:
                smaller = self.window.refused(given.entered, now, others)
            else:
                smaller = not paced and self.window.overloaded(given.entered, now, paced=True)
                vague = isinstance(error, OverloadedError)
                slower = self.pace.refused(given.entered, now, min(wish, LONGEST_HOLD), vague=vague)
                if slower is not None:
                    self._tell("pace_changed", requests_per_second=round(slower, 3))
        if smaller:
            self._tell("limit_changed", slots=self.window.limit, before=before, because=type(error).__name__)
        # NaN compares as False
        if wish > MEANT_FOR_ALL and not crowded and now + wish > self._closed_until:
            self._closed_until = now + wish
            self._tell("paused", seconds=round(wish, 1), because="the server asks to be left alone")
        return crowded

    def _refund(self, given: Pass) -> None:
        self.pace.refund()
        for quota in self._quotas:
            if quota is not None:
                quota[0].correct(given.entered, given.tokens if quota[1] else 1, 0)

    def _first(self) -> "_Waiter":
        return self._again[0] if self._again else self._fresh[0]

    def _admit(self) -> None:
        while self._again or self._fresh:
            queue = self._again or self._fresh
            waiter = queue[0]
            if waiter.given.done():
                queue.popleft()
                continue
            now = self._clock()
            if self.outage.hopeless(now):
                queue.popleft()
                waiter.given.set_exception(self.outage.error())
                continue
            full = self.in_flight >= self.window.limit
            until, _ = (now, "") if full else self._opens(now, waiter.tokens)
            if full or until > now:
                expires = self.outage.expires
                until = min(math.inf if full else until, expires if expires > now else math.inf)
                if until < math.inf:
                    self._wake_at(until - now)
                return
            queue.popleft()
            self.in_flight += 1
            self.pace.start(now)
            for quota in self._quotas:
                if quota is not None:
                    quota[0].take(now, waiter.tokens if quota[1] else 1)
            given = Pass(now, waiter.tokens)
            given.level = self.in_flight
            given.probe = self.outage.probe()
            waiter.given.set_result(given)

    def _opens(self, now: float, tokens: int) -> tuple[float, str]:
        return max(
            (self.outage.opens(now), "the server, which is down"),
            (self._closed_until, "the server asks to be left alone"),
            (self.pace.opens(now), "the server's rate limit"),
            *(
                (quota[0].opens(now, tokens if quota[1] else 1), f"your limit of {name} a minute")
                for quota, name in zip(self._quotas, ("requests", "tokens"), strict=True)
                if quota is not None
            ),
        )

    def _wake_at(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # A wish may be longer than a loop's timer takes; waking early only means looking again.
        self._timer = asyncio.get_running_loop().call_later(min(seconds, 3600.0), self._admit)

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()


class _Waiter:
    __slots__ = ("given", "tokens")

    def __init__(self, given: "asyncio.Future[Pass]", tokens: int) -> None:
        self.given = given
        self.tokens = tokens


class LimitResponder:
    """Lets each try through when the gate does. A request that was tried before goes before those that were not."""

    def __init__(
        self,
        inner: Responder,
        gate: Gate,
        estimate: TokenEstimate | None = None,
        clock: Callable[[], float] = time.monotonic,
        common: CommonCause | None = None,
    ) -> None:
        """Put ``gate`` before ``inner``.

        Args:
            inner: what is asked.
            gate: lets tries through.
            estimate: says what a request is taken to cost.
            clock: seconds that only grow.
            common: knows whether there is any use in asking.
        """
        self._inner = inner
        self._gate = gate
        self._estimate = estimate or TokenEstimate()
        self._clock = clock
        self._common = common or CommonCause()

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Try once, when there is leave.

        Raises:
            BackendTimeoutError: the request's deadline passed while it waited for another try.
            BackendUnavailableError: the server has been down for too long.
            NotEnoughAnswersError: every question of this task has failed with the same cause.
            ANTSError: what ``inner`` raises.
        """
        before = trace.attempts
        given = await self._enter(request, trace)
        failure: BackendError | None = None
        answered = False
        try:
            await self._common.enter(request.task)
            try:
                answer = await self._inner.answer(request, trace)
            finally:
                self._common.leave(request.task)
            answered = True
        except BackendError as error:
            failure = error
            raise
        finally:
            # Its picture may be gone, the answer may have come out of the store after all, another process may ask.
            given.asked = trace.attempts > before
            given.cancelled = failure is None and not (answered or trace.answered)
            if failure is not None or (given.asked and not given.cancelled):
                self._gate.learn_outage(trace, given, failure)
            used = self._estimate.learn(request, trace.usage) if given.asked else None
            trace.crowded = self._gate.leave(given, failure, used)
        return answer

    async def _enter(self, request: Request, trace: RequestProgress) -> Pass:
        tried = trace.attempts > 0 or math.isfinite(trace.end)
        left = trace.end - self._clock()
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(0.0, left)) as scope:
                return await self._gate.enter(again=tried, tokens=self._estimate.of(request))
        except TimeoutError as error:
            if not scope.expired():
                raise
            if self._gate.outage.waits_for(trace):
                limit = "longer than this request had (dispatch.deadline)"
                raise self._gate.outage.error(limit) from None
            raise BackendTimeoutError("no answer within the request's deadline: it waited for another try") from error
