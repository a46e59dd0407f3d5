"""One try: a call to the backend under a time limit, and told to whoever observes."""

import asyncio
import math
import time
from collections.abc import Callable

from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.errors import BackendTimeoutError
from ants_engine.protocol import Answer


class AttemptResponder:
    """Gives a try its time limit, and a request with all its tries its deadline, from the first one on.

    It stands within the limit: waiting for a turn uses up no time. A try of which nothing was sent is no try.
    """

    def __init__(
        self,
        inner: Responder,
        *,
        timeout: float,
        deadline: float,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: the backend.
            timeout: seconds for one try.
            deadline: seconds for one request with its tries and pauses.
            observer: told how each try ended.
            clock: seconds that only grow.
        """
        self._inner = inner
        self._timeout = timeout
        self._deadline = deadline
        self._observer = observer
        self._clock = clock

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Try once.

        Raises:
            BackendTimeoutError: no answer within the try's limit, or within the request's deadline.
            ANTSError: what ``inner`` raises.
        """
        began = self._clock()
        if math.isinf(trace.end):
            trace.end = began + self._deadline
        before = trace.attempts
        trace.update(attempts=before + 1)
        trace.unsent = False
        trace.usage = (None, None)
        ending: Answer | Exception | None = None
        try:
            ending = await self._limited(request, trace, max(0.0, trace.end - began))
        except Exception as error:
            ending = error
            raise
        finally:
            if trace.unsent:
                trace.update(attempts=before)
            elif ending is not None:
                self._observer.attempted(request, trace.attempts, self._clock() - began, ending)
        return ending

    async def _limited(self, request: Request, trace: RequestProgress, left: float) -> Answer:
        try:
            async with asyncio.timeout(min(self._timeout, left)) as scope:
                return await self._inner.answer(request, trace)
        except TimeoutError as error:
            if not scope.expired():
                raise
            what = f"{self._timeout:g} s" if self._timeout <= left else "the request's deadline"
            raise BackendTimeoutError(f"no answer within {what}") from error
