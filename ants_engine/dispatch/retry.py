"""Asks again after a failure that may pass."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ants_engine.dispatch.request import Request
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import TransientBackendError
from ants_engine.protocol import Answer

FIRST_PAUSE = 0.5
"""Seconds before the second try, at most; each further pause is twice as long."""
LONGEST_PAUSE = 30.0
"""Seconds."""


class RetryResponder:
    """Tries until there is an answer, a final error, no try left, or no time left (`Trace.end`).

    Only `TransientBackendError` is tried again; cancellation and everything else passes at once. It stands outside of
    the limit: a request that pauses takes nobody's place.
    """

    def __init__(
        self,
        inner: Responder,
        *,
        attempts: int,
        jitter: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: what is tried.
            attempts: tries per request, the first one counted.
            jitter: randomness of the pauses; own by default, since processes that pause alike come back together.
            sleep: how to pause.
            clock: seconds that only grow.
        """
        self._inner = inner
        self._attempts = attempts
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads load, protects nothing
        self._sleep = sleep
        self._clock = clock

    async def answer(self, request: Request, trace: Trace) -> Answer:
        """Answer, trying as often as it takes and may.

        Raises:
            TransientBackendError: the last try's error, when no try or no time is left.
            ANTSError: what cannot pass, at once.
        """

        async def attempt() -> Answer:
            return await self._inner.answer(request, trace)

        def stop(state: RetryCallState) -> bool:
            spent = state.attempt_number >= self._attempts or self._clock() + state.upcoming_sleep >= trace.end
            return spent or trace.abandoned

        async def pause(seconds: float) -> None:
            trace.update(phase="pausing")
            try:
                await self._sleep(seconds)
            finally:
                trace.update(phase="waiting")

        # One per request: tenacity keeps a call's state on the object.
        retrying = AsyncRetrying(
            sleep=pause,
            stop=stop,
            wait=self._pause,
            retry=retry_if_exception_type(TransientBackendError),
            reraise=True,
        )
        answer: Answer = await retrying(attempt)
        return answer

    def _pause(self, state: RetryCallState) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(state.attempt_number - 1, 30))
        pause = longest * (0.5 + 0.5 * self._jitter.random())
        error = state.outcome.exception() if state.outcome is not None else None
        wish = error.retry_after if isinstance(error, TransientBackendError) else None
        if wish is not None and wish == wish:  # noqa: PLR0124  # NaN is no wish
            # The server's wish is a minimum; the jitter on top keeps those who were told the same from coming together.
            return max(pause, wish + FIRST_PAUSE * self._jitter.random())
        return pause
