"""Retries transient errors with exponential backoff and jitter."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ants_engine.dispatch.common_cause import CommonCause
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.errors import BackendError, TransientBackendError
from ants_engine.protocol import Answer

FIRST_PAUSE = 0.5
"""Seconds before the second try, at most; each further pause is twice as long."""
LONGEST_PAUSE = 30.0
"""Seconds."""


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
