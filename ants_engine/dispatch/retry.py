"""Retries transient errors with exponential backoff and jitter, and fails fast where every request would fail."""

import asyncio
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.errors import (
    BackendError,
    FinalBackendError,
    NotEnoughAnswersError,
    TransientBackendError,
    UnusableAnswerError,
)
from ants_engine.protocol import Answer

FEW = 3
"""Questions of a task that fail for good in a row, with the same cause and none answered before, are enough."""

MANY = 10
"""As many are enough where the task had answers before: the server has changed since."""

ASK_AGAIN = 60.0
"""Seconds after which one more question is asked, to see: a stream may outlive what was wrong."""

# numbers and identifiers differ from one error to the next, and are no cause
_PARTICULAR = re.compile(r"\b[0-9a-f-]{8,}\b|\d+", re.IGNORECASE)

FIRST_PAUSE = 0.5
"""Seconds before the second try, at most; each further pause is twice as long."""

LONGEST_PAUSE = 30.0
"""Seconds."""


@dataclass(slots=True)
class _Task:
    answered: bool = False
    cause: str = ""
    error: FinalBackendError | None = None
    failed: int = 0
    stopped_at: float = 0.0
    under_way: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class CommonCause:
    """Watches how the questions of each task end. An answer in between begins the count anew.

    Before it stops, it waits for the questions that are under way: an answer takes longer than a refusal.
    """

    def __init__(self, *, few: int = FEW, enabled: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing known.

        Args:
            few: as many failures are enough before the first answer.
            enabled: stop at all.
            clock: seconds that only grow.
        """
        self._few = few
        self._enabled = enabled
        self._clock = clock
        self._tasks: dict[str, _Task] = {}

    async def enter(self, task: str) -> None:
        """Let a question of a task go, unless there is no use in it. Each call is followed by one of `leave`.

        Raises:
            NotEnoughAnswersError: a few in a row failed with the same cause, which it holds; then there is no `leave`.
        """
        state = self._tasks.setdefault(task, _Task())
        while self._suspects(state) and state.under_way:
            state.changed.clear()
            await state.changed.wait()
        if self._suspects(state) and state.error is not None:
            state.stopped_at = state.stopped_at or self._clock()
            if self._clock() < state.stopped_at + ASK_AGAIN:
                which = "latest" if state.answered else "first"
                raise NotEnoughAnswersError(
                    f"{task}: 0 of {state.failed} answers can be used: the {which} questions failed with the same "
                    f"cause, and the rest is not asked. {type(state.error).__name__}: {state.error}",
                    [state.error],
                )
            state.stopped_at = self._clock()
        state.under_way += 1

    def leave(self, task: str) -> None:
        """Note that a try has ended, however."""
        state = self._tasks[task]
        state.under_way -= 1
        state.changed.set()

    def ended(self, task: str, error: BackendError | None) -> None:
        """Note how a question ended, with all its tries."""
        state = self._tasks.setdefault(task, _Task())
        if error is None:
            state.answered = True
            state.error, state.failed, state.stopped_at = None, 0, 0.0
        elif isinstance(error, FinalBackendError):
            cause = f"{type(error).__name__}: {_PARTICULAR.sub('#', str(error))}"
            state.failed = state.failed + 1 if cause == state.cause else 1
            state.cause, state.error = cause, error
        elif isinstance(error, UnusableAnswerError):
            # the server does take questions of this kind
            state.failed = 0
        state.changed.set()

    def _suspects(self, state: _Task) -> bool:
        return self._enabled and state.failed >= (MANY if state.answered else self._few)


class RetryResponder:
    """Tries until there is an answer, a final error, no try left, or no time left (`RequestProgress.end`).

    Only `TransientBackendError` is tried again; cancellation and everything else passes at once. It stands outside of
    the limit: a request that pauses takes nobody's place. Tries that were part of an outage of the server are not
    counted, and need no pause: the gate waits until the server is back.
    """

    def __init__(
        self,
        inner: Responder,
        *,
        attempts: int,
        outage: Outage | None = None,
        common: CommonCause | None = None,
        jitter: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: what is tried.
            attempts: tries per request, the first one counted.
            outage: knows which tries were part of an outage.
            common: told how requests end.
            jitter: randomness of the pauses; own by default, since processes that pause alike come back together.
            sleep: how to pause.
            clock: seconds that only grow.
        """
        self._inner = inner
        self._attempts = attempts
        self._outage = outage or Outage(math.inf)
        self._common = common or CommonCause()
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads load, protects nothing
        self._sleep = sleep
        self._clock = clock

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer, trying as often as it takes and may.

        Raises:
            TransientBackendError: the last try's error, when no try or no time is left.
            ANTSError: what cannot pass, at once.
        """

        async def attempt() -> Answer:
            return await self._inner.answer(request, trace)

        def tries(state: RetryCallState) -> int:
            return state.attempt_number - self._outage.excused(trace)

        def stop(state: RetryCallState) -> bool:
            now = self._clock()
            late = now + state.upcoming_sleep >= trace.end or now >= self._outage.expires
            return tries(state) >= self._attempts or late or trace.abandoned

        def wait(state: RetryCallState) -> float:
            return 0.0 if self._outage.waits_for(trace) else self._pause(tries(state), state, trace)

        async def pause(seconds: float) -> None:
            if not seconds:
                return
            trace.update(phase="pausing")
            try:
                await self._sleep(seconds)
            finally:
                trace.update(phase="waiting")

        # One per request: tenacity keeps a call's state on the object.
        retrying = AsyncRetrying(
            sleep=pause,
            stop=stop,
            wait=wait,
            retry=retry_if_exception_type(TransientBackendError),
            reraise=True,
        )
        try:
            answer: Answer = await retrying(attempt)
        except BackendError as error:
            self._common.ended(request.task, error)
            raise
        self._common.ended(request.task, None)
        return answer

    def _pause(self, tries: int, state: RetryCallState, trace: RequestProgress) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(tries - 1, 0), 30))
        pause = longest * (0.5 + 0.5 * self._jitter.random())
        error = state.outcome.exception() if state.outcome is not None else None
        wish = error.retry_after if isinstance(error, TransientBackendError) and not trace.crowded else None
        if wish is not None and wish == wish:  # noqa: PLR0124  # NaN is no wish
            # The server's wish is a minimum; the jitter on top keeps those who were told the same from coming together.
            return max(pause, wish + FIRST_PAUSE * self._jitter.random())
        return pause
