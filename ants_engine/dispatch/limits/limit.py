"""Bounds what goes to the backend: how much at once, and how fast."""

import asyncio
import math
import time
from collections.abc import Callable

from ants_engine.dispatch.common_cause import CommonCause
from ants_engine.dispatch.limits.gate import Gate, Pass
from ants_engine.dispatch.limits.token_estimate import TokenEstimate
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
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
