"""Assembles the layers around a backend in their order."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

from ants_engine.dispatch.ask import AttemptResponder, BackendResponder, ReadyResponder
from ants_engine.dispatch.limits.budget import Budget, BudgetResponder, TokenEstimate
from ants_engine.dispatch.limits.gate import Gate, LimitResponder
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.recording import (
    KeepFailureResponder,
    KeepResponder,
    LockResponder,
    LookupResponder,
    PatientStore,
)
from ants_engine.dispatch.request import Responder
from ants_engine.dispatch.retry import CommonCause, RetryResponder
from ants_engine.dispatch.single_flight import RequestLocks
from ants_engine.protocol import Backend
from ants_engine.settings.config import Settings


class Pipeline:
    """Everything between single flight and the backend.

    From outside: lookup ∘ keep failure ∘ ready ∘ retry ∘ limit ∘ request lock ∘ keep ∘ budget ∘ attempt ∘ backend. In
    mode ``live`` the layers of the store are left out.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        observer: Observer,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        """Create gate and budget.

        Args:
            settings: ``dispatch`` is used.
            backend: what is asked.
            observer: told of attempts and events.
            sleep: how to pause between attempts.
            jitter: randomness of the pauses.
        """
        dispatch, capabilities = settings.dispatch, backend.capabilities
        self._settings = settings
        self._backend = backend
        self._observer = observer
        self._sleep = sleep
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads load, protects nothing
        self._estimate = TokenEstimate()
        self.slots = dispatch.max_concurrency or capabilities.max_concurrency
        self.outage = Outage(
            dispatch.deadline if capabilities.enforce_timeouts else math.inf, jitter=self._jitter, tell=observer.event
        )
        # without a minimum of answers every question is asked
        self._common = CommonCause(enabled=dispatch.min_success > 0)
        self.gate = Gate(
            self.slots,
            # a backend in this process knows its concurrency
            start=None if capabilities.enforce_timeouts else self.slots,
            requests_per_minute=dispatch.requests_per_minute,
            tokens_per_minute=dispatch.tokens_per_minute,
            outage=self.outage,
            tell=observer.event,
        )
        self.budget = Budget(dispatch.budget, dispatch.prices, self._estimate)

    def live(self) -> Responder:
        """Ask without a store."""
        return self._patient(self._attempt())

    def recording(self, store: PatientStore, locks: RequestLocks) -> Responder:
        """Answer from the store, or ask and store the answer."""
        inner = LockResponder(KeepResponder(self._attempt(), store), store, locks)
        return LookupResponder(KeepFailureResponder(self._patient(inner), store), store, locks)

    def _attempt(self) -> Responder:
        dispatch, timed = self._settings.dispatch, self._backend.capabilities.enforce_timeouts
        attempt = AttemptResponder(
            BackendResponder(self._backend),
            timeout=dispatch.attempt_timeout if timed else math.inf,
            deadline=dispatch.deadline if timed else math.inf,
            observer=self._observer,
        )
        return BudgetResponder(attempt, self.budget)

    def _patient(self, inner: Responder) -> Responder:
        retry = RetryResponder(
            LimitResponder(inner, self.gate, self._estimate, common=self._common),
            attempts=self._settings.dispatch.attempts,
            outage=self.outage,
            common=self._common,
            sleep=self._sleep,
            jitter=self._jitter,
        )
        return ReadyResponder(retry, self._backend)
