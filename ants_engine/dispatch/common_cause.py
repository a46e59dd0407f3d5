"""Stops asking where every question would fail: the wrong model, a server that takes no pictures."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ants_engine.errors import BackendError, FinalBackendError, NotEnoughAnswersError, UnusableAnswerError

FEW = 3
"""Questions of a task that fail for good in a row, with the same cause and none answered before, are enough."""
MANY = 10
"""As many are enough where the task had answers before: the server has changed since."""
ASK_AGAIN = 60.0
"""Seconds after which one more question is asked, to see: a stream may outlive what was wrong."""

# numbers and identifiers differ from one error to the next, and are no cause
_PARTICULAR = re.compile(r"\b[0-9a-f-]{8,}\b|\d+", re.IGNORECASE)


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
