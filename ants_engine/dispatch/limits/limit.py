"""Bounds what goes to the backend: how much at once, and how fast."""

import asyncio
import math
import time
from collections.abc import Callable

from ants_engine.dispatch.limits.gate import Gate
from ants_engine.dispatch.limits.token_estimate import TokenEstimate
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.trace import Trace
from ants_engine.errors import BackendError, BackendTimeoutError
from ants_engine.protocol import Answer


class LimitResponder:
    """Lets each try through when the gate does. A request that was tried before goes before those that were not."""

    def __init__(
        self,
        inner: Responder,
        gate: Gate,
        estimate: TokenEstimate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put ``gate`` before ``inner``; ``estimate`` says what a request is taken to cost."""
        self._inner = inner
        self._gate = gate
        self._estimate = estimate or TokenEstimate()
        self._clock = clock

    async def answer(self, request: Request, trace: Trace) -> Answer:
        """Try once, when there is leave.

        Raises:
            BackendTimeoutError: the request's deadline passed while it waited for another try.
            ANTSError: what ``inner`` raises.
        """
        before = trace.attempts
        left = trace.end - self._clock()
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(0.0, left)) as scope:
                given = await self._gate.enter(again=before > 0, tokens=self._estimate.of(request))
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise BackendTimeoutError("no answer within the request's deadline: it waited for another try") from error
        failure: BackendError | None = None
        try:
            answer = await self._inner.answer(request, trace)
        except BackendError as error:
            failure = error
            raise
        finally:
            # The answer may have come out of the store after all, or another process is asking.
            given.asked = trace.attempts > before
            used = self._estimate.learn(request, trace.usage) if given.asked else None
            self._gate.leave(given, failure, used)
        return answer
