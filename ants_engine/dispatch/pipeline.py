"""The layers around a backend, put together in their order."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

from ants_engine.dispatch.ask import AttemptResponder, BackendResponder, ReadyResponder
from ants_engine.dispatch.limits.budget import Budget, BudgetResponder, TokenEstimate
from ants_engine.dispatch.limits.gate import AdaptiveGate, LimitResponder
from ants_engine.dispatch.limits.outage import Outage
from ants_engine.dispatch.observer import Observer
from ants_engine.dispatch.recording import (
    ClaimResponder,
    KeepFailureResponder,
    KeepResponder,
    LookupResponder,
    PatientStore,
)
from ants_engine.dispatch.request import Responder
from ants_engine.dispatch.retry import CommonCause, RetryResponder
from ants_engine.dispatch.single_flight import Claims
from ants_engine.protocol import Backend
from ants_engine.settings.config import Settings


class Pipeline:
    """What is between a request and a backend, apart from single flight.

    From outside: lookup ∘ keep failure ∘ ready ∘ retry ∘ limit ∘ claim ∘ keep ∘ budget ∘ attempt ∘ backend; without a
    store, what has to do with it is left out.
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
        """Prepare gate and budget.

        Args:
            settings: ``dispatch`` is used.
            backend: what is asked.
            observer: told what happens.
            sleep: how to pause between tries.
            jitter: randomness of the pauses.
        """
        dispatch, capabilities = settings.dispatch, backend.capabilities
        self._settings = settings
        self._backend = backend
        self._observer = observer
        self._sleep = sleep
        self._jitter = jitter
        self._estimate = TokenEstimate()
        self.slots = dispatch.max_concurrency or capabilities.max_concurrency
        self.outage = Outage(
            dispatch.deadline if capabilities.enforce_timeouts else math.inf, jitter=jitter, tell=observer.event
        )
        # who needs no answers at all wants every question asked
        self._common = CommonCause(enabled=dispatch.min_success > 0)
        self.gate = AdaptiveGate(
            self.slots,
            # what runs here is asked as much as it says at once; it has no need of caution
            start=None if capabilities.enforce_timeouts else self.slots,
            requests_per_minute=dispatch.requests_per_minute,
            tokens_per_minute=dispatch.tokens_per_minute,
            outage=self.outage,
            tell=observer.event,
        )
        self.budget = Budget(dispatch.budget, dispatch.prices, self._estimate)

    def live(self) -> Responder:
        """Ask, and neither read nor keep anything."""
        return self._patient(self._attempt())

    def recording(self, store: PatientStore, claims: Claims) -> Responder:
        """Answer from the store, or ask and keep."""
        inner = ClaimResponder(KeepResponder(self._attempt(), store), store, claims)
        return LookupResponder(KeepFailureResponder(self._patient(inner), store), store, claims)

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
