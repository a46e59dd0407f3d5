"""The rate limiter: decides when the next call may go to the backend."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ants_engine.dispatch.limits import constants
from ants_engine.dispatch.limits.budget import Quota, TokenEstimate
from ants_engine.dispatch.limits.congestion import Pace, Window
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.dispatch.retry import CommonCause
from ants_engine.errors import BackendError, BackendTimeoutError, OverloadedError, RateLimitError, TransientBackendError
from ants_engine.protocol import Answer

REFUSED = (RateLimitError, OverloadedError)
"""Too many calls, at once or per second: proxies send 429 or 503 for either."""

Tell = Callable[..., None]


@dataclass(eq=False, slots=True)
class Permit:
    """Admission of one call; release it to the gate."""

    entered: float
    tokens: int
    """Estimated."""
    asked: bool = True
    """Set to False when nothing was sent, so that it counts against no limit."""
    cancelled: bool = False
    """Set to True when the call was cancelled, so that nothing is learned from it."""
    level: int = 1
    """Calls in flight when it was sent, itself included."""
    probe: bool = False
    """It probes whether the server is up again."""


@dataclass(eq=False, slots=True)
class _Waiter:
    permit: "asyncio.Future[Permit]"
    tokens: int


class Gate:
    """An adaptive rate limiter, within the limits of the settings.

    - Concurrency: `Window` (AIMD).
    - Calls per second: `Pace`, unbounded until refusals that the window does not explain. A 429 or 503 may mean either;
      concurrency is tried first, because that takes only a round trip.
    - Nothing is sent during a ``Retry-After`` of more than two seconds that is not about concurrency.
    - While the server is down (`Outage`), single probes only.
    - Limits per minute that the user has set: `Quota`.

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
            start: calls at once to begin with; the ceiling for a backend in this process.
            requests_per_minute: limit of calls in any 60 seconds.
            tokens_per_minute: limit of estimated tokens in any 60 seconds.
            outage: the circuit breaker.
            clock: monotonic, in seconds.
            tell: called with the kind and facts of events for the run folder.
        """
        self.outage = outage or Outage(math.inf, clock=clock)
        self.window = Window(ceiling, start)
        self.pace = Pace()
        limits = (
            ("requests", requests_per_minute, constants.QUOTA_REQUESTS_AT_ONCE),
            ("tokens", tokens_per_minute, constants.QUOTA_TOKENS_AT_ONCE),
        )
        self._quotas = [Quota(limit, burst, unit) for unit, limit, burst in limits if limit is not None]
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
        """Calls at once, as it now is."""
        return self.window.limit

    def holding(self) -> tuple[str, float] | None:
        """Return what holds waiting calls up, other than concurrency, and for how many seconds more."""
        now = self._clock()
        if not (self._again or self._fresh) or self.outage.open:
            return None
        until, why = self._opens(now, self._first().tokens)
        return (why, until - now) if until > now else None

    async def enter(self, *, again: bool = False, tokens: int = 0) -> Permit:
        """Wait for a permit.

        Args:
            again: a retry, which goes before new requests.
            tokens: estimated cost.

        Raises:
            BackendUnavailableError: the server has been down for too long.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), tokens)
        (self._again if again else self._fresh).append(waiter)
        self._admit()
        try:
            return await waiter.permit
        except asyncio.CancelledError:
            if waiter.permit.done() and not waiter.permit.cancelled() and waiter.permit.exception() is None:
                # admitted and cancelled in the same turn of the loop
                unused = waiter.permit.result()
                unused.asked = False
                self.release(unused, None, None)
            raise

    def release(self, permit: Permit, error: BackendError | None = None, tokens: int | None = None) -> bool:
        """Return the permit, and learn from how the call ended."""
        now = self._clock()
        full = self.in_flight >= self.window.limit
        self.in_flight -= 1
        if permit.probe:
            self.outage.probed(asked=permit.asked or (error is not None and not permit.cancelled))
        crowded = False
        if not permit.asked:
            self._refund(permit)
        else:
            if not permit.cancelled:
                crowded = self._learn(permit, error, now, full=full)
            for quota in self._quotas:
                if quota.unit == "tokens" and tokens is not None:
                    quota.correct(permit.entered, permit.tokens, tokens)
        self._admit()
        return crowded

    def learn_outage(self, progress: RequestProgress, permit: Permit, error: BackendError | None) -> None:
        """Tell the circuit breaker how a call ended; what the window learned during an outage is void."""
        if not self.outage.failing:
            self._size_before = self.window.size
        if self.outage.learn(progress, permit.entered, error):
            self.window.restore(self._size_before)

    def _learn(self, permit: Permit, error: BackendError | None, now: float, *, full: bool) -> bool:
        before, others = self.window.limit, self.in_flight
        if error is None:
            self.pace.succeeded(now)
            full = full or bool(self._fresh or self._again)
            self.window.succeeded(full=full, started=permit.entered, now=now, level=permit.level)
            return False
        wish = (error.retry_after if isinstance(error, TransientBackendError) else None) or 0.0
        smaller = crowded = False
        if isinstance(error, BackendTimeoutError):
            smaller = self.window.overloaded(permit.entered, now)
        elif isinstance(error, REFUSED) and not self.outage.open:
            # calls at an even pace are refused because of the rate, not of concurrency
            paced = self.pace.rate is not None
            crowded = not paced and self.window.explains(permit.entered, now, others)
            if crowded:
                smaller = self.window.refused(permit.entered, now, others)
            else:
                smaller = not paced and self.window.overloaded(permit.entered, now, paced=True)
                vague = isinstance(error, OverloadedError)
                slower = self.pace.refused(permit.entered, now, min(wish, constants.GATE_LONGEST_HOLD), vague=vague)
                if slower is not None:
                    self._tell("pace_changed", requests_per_second=round(slower, 3))
        if smaller:
            self._tell("limit_changed", slots=self.window.limit, before=before, because=type(error).__name__)
        # false for NaN
        if wish > constants.GATE_MEANT_FOR_ALL and not crowded and now + wish > self._closed_until:
            self._closed_until = now + wish
            self._tell("paused", seconds=round(wish, 1), because="the server asks to be left alone")
        return crowded

    def _refund(self, permit: Permit) -> None:
        self.pace.refund()
        for quota in self._quotas:
            quota.correct(permit.entered, quota.cost(permit.tokens), 0)

    def _first(self) -> "_Waiter":
        return self._again[0] if self._again else self._fresh[0]

    def _admit(self) -> None:
        while self._again or self._fresh:
            queue = self._again or self._fresh
            waiter = queue[0]
            if waiter.permit.done():
                queue.popleft()
                continue
            now = self._clock()
            if self.outage.hopeless(now):
                queue.popleft()
                waiter.permit.set_exception(self.outage.error())
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
                quota.take(now, quota.cost(waiter.tokens))
            permit = Permit(now, waiter.tokens, level=self.in_flight, probe=self.outage.probe())
            waiter.permit.set_result(permit)

    def _opens(self, now: float, tokens: int) -> tuple[float, str]:
        return max(
            (self.outage.opens(now), "the server, which is down"),
            (self._closed_until, "the server asks to be left alone"),
            (self.pace.opens(now), "the server's rate limit"),
            *((quota.opens(now, quota.cost(tokens)), f"your limit of {quota.unit} a minute") for quota in self._quotas),
        )

    def _wake_at(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # a Retry-After may exceed the loop's longest timer; waking early is harmless
        self._timer = asyncio.get_running_loop().call_later(min(seconds, 3600.0), self._admit)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()


@dataclass(eq=False)
class LimitResponder:
    """Sends each attempt through the gate. Retries go before new requests."""

    inner: Responder
    gate: Gate
    estimate: TokenEstimate = field(default_factory=TokenEstimate)
    clock: Callable[[], float] = time.monotonic
    common: CommonCause = field(default_factory=CommonCause)

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Make one attempt when admitted.

        Raises:
            BackendTimeoutError: the request's deadline passed while it waited for another attempt.
            BackendUnavailableError: the server has been down for too long.
            NotEnoughAnswersError: every question of this task has failed with the same cause.
            ANTSError: what ``inner`` raises.
        """
        before = progress.attempts
        permit = await self._enter(request, progress)
        failure: BackendError | None = None
        answered = False
        try:
            await self.common.enter(request.task)
            try:
                answer = await self.inner.answer(request, progress)
            finally:
                self.common.leave(request.task)
            answered = True
        except BackendError as error:
            failure = error
            raise
        finally:
            # nothing is sent when the picture is gone, the store has the answer, or another process asks
            permit.asked = progress.attempts > before
            permit.cancelled = failure is None and not (answered or progress.answered)
            if failure is not None or (permit.asked and not permit.cancelled):
                self.gate.learn_outage(progress, permit, failure)
            used = self.estimate.learn(request, progress.usage) if permit.asked else None
            progress.crowded = self.gate.release(permit, failure, used)
        return answer

    async def _enter(self, request: Request, progress: RequestProgress) -> Permit:
        tried = progress.attempts > 0 or math.isfinite(progress.end)
        left = progress.end - self.clock()
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(0.0, left)) as scope:
                return await self.gate.enter(again=tried, tokens=self.estimate.of(request))
        except TimeoutError as error:
            if not scope.expired():
                raise
            if self.gate.outage.waits_for(progress):
                limit = "longer than this request had (dispatch.deadline)"
                raise self.gate.outage.error(limit) from None
            raise BackendTimeoutError("no answer within the request's deadline: it waited to be retried") from error
