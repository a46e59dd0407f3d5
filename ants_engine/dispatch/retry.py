"""Retries transient errors with exponential backoff and jitter, and fails fast where every request would fail."""

import asyncio
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field

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
"""Consecutive final failures of a task with the same cause that stop it before its first answer."""

MANY = 10
"""The same after an answer: the server has changed since."""

ASK_AGAIN = 60.0
"""Seconds after which one request is sent as a probe: a stream may outlive the cause."""

# numbers and identifiers differ between errors of one cause
_PARTICULAR = re.compile(r"\b[0-9a-f-]{8,}\b|\d+", re.IGNORECASE)

FIRST_PAUSE = 0.5
"""Seconds before the second attempt at most; doubled before every further one."""

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
    """Stops a task whose requests all fail with one cause, such as a wrong model. An answer resets the count.

    Before it stops a task, it waits for the requests in flight: an answer takes longer than a refusal.
    """

    def __init__(self, *, few: int = FEW, enabled: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no failures.

        Args:
            few: failures that stop a task before its first answer.
            enabled: whether to stop tasks at all.
            clock: monotonic, in seconds.
        """
        self._few = few
        self._enabled = enabled
        self._clock = clock
        self._tasks: dict[str, _Task] = {}

    async def enter(self, task: str) -> None:
        """Admit an attempt, unless its task is stopped. Call `leave` when the attempt has ended.

        Raises:
            NotEnoughAnswersError: the task is stopped; it holds the common cause. Do not call `leave` then.
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
        """Note that an attempt has ended."""
        state = self._tasks[task]
        state.under_way -= 1
        state.changed.set()

    def ended(self, task: str, error: BackendError | None) -> None:
        """Note how a request ended, after all its attempts."""
        state = self._tasks.setdefault(task, _Task())
        if error is None:
            state.answered = True
            state.error, state.failed, state.stopped_at = None, 0, 0.0
        elif isinstance(error, FinalBackendError):
            cause = f"{type(error).__name__}: {_PARTICULAR.sub('#', str(error))}"
            state.failed = state.failed + 1 if cause == state.cause else 1
            state.cause, state.error = cause, error
        elif isinstance(error, UnusableAnswerError):
            # the server does accept requests of this task
            state.failed = 0
        state.changed.set()

    def _suspects(self, state: _Task) -> bool:
        return self._enabled and state.failed >= (MANY if state.answered else self._few)


@dataclass(eq=False)
class RetryResponder:
    """Retries `TransientBackendError` until an answer, the last attempt or the deadline (`RequestProgress.end`).

    It stands outside of the gate, so a request that pauses holds no permit. Attempts during an outage of the server are
    not counted and need no pause: the gate waits until the server is up.
    """

    inner: Responder
    _: KW_ONLY
    attempts: int
    """Attempts per request, the first one included."""
    outage: Outage = field(default_factory=lambda: Outage(math.inf))
    common: CommonCause = field(default_factory=CommonCause)
    jitter: random.Random = field(default_factory=random.Random)
    """Randomness of the pauses, so that processes do not retry in step."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer, with retries.

        Raises:
            TransientBackendError: the last attempt's error, when no attempt or no time is left.
            ANTSError: any other error, without a retry.
        """

        async def attempt() -> Answer:
            return await self.inner.answer(request, progress)

        def tries(state: RetryCallState) -> int:
            return state.attempt_number - self.outage.excused(progress)

        def stop(state: RetryCallState) -> bool:
            now = self.clock()
            late = now + state.upcoming_sleep >= progress.end or now >= self.outage.expires
            return tries(state) >= self.attempts or late or progress.abandoned

        def wait(state: RetryCallState) -> float:
            return 0.0 if self.outage.waits_for(progress) else self._pause(tries(state), state, progress)

        async def pause(seconds: float) -> None:
            if not seconds:
                return
            progress.update(phase="pausing")
            try:
                await self.sleep(seconds)
            finally:
                progress.update(phase="waiting")

        # one per request: tenacity keeps a call's state on the object
        retrying = AsyncRetrying(
            sleep=pause, stop=stop, wait=wait, retry=retry_if_exception_type(TransientBackendError), reraise=True
        )
        try:
            answer: Answer = await retrying(attempt)
        except BackendError as error:
            self.common.ended(request.task, error)
            raise
        self.common.ended(request.task, None)
        return answer

    def _pause(self, tries: int, state: RetryCallState, progress: RequestProgress) -> float:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(tries - 1, 0), 30))
        pause = longest * (0.5 + 0.5 * self.jitter.random())
        error = state.outcome.exception() if state.outcome is not None else None
        wish = error.retry_after if isinstance(error, TransientBackendError) and not progress.crowded else None
        if wish is not None and wish == wish:  # noqa: PLR0124  # not NaN
            # Retry-After is a minimum; the jitter spreads requests that were told the same
            return max(pause, wish + FIRST_PAUSE * self.jitter.random())
        return pause
