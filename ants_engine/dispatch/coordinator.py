"""Takes requests, runs them side by side through all layers, and hands back how each ended."""

import asyncio
import json
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from ants_engine.config import Settings
from ants_engine.dispatch.ask import BackendResponder
from ants_engine.dispatch.backend_registry import backend_name, create_backend, declared_model
from ants_engine.dispatch.counts import Counts
from ants_engine.dispatch.identity import RecordedIdentity
from ants_engine.dispatch.limit import FixedGate, LimitResponder
from ants_engine.dispatch.outcome import Outcome
from ants_engine.dispatch.ready import ReadyResponder
from ants_engine.dispatch.recording import KeepResponder, LookupResponder
from ants_engine.dispatch.replay import ReplayResponder, recorded_identity
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.responder import Responder
from ants_engine.dispatch.retry import RetryResponder
from ants_engine.dispatch.single_flight import SingleFlight
from ants_engine.dispatch.store import ResponseStore
from ants_engine.dispatch.trace import Phase, Source, Trace
from ants_engine.errors import ANTSError, FinalBackendError, ProtocolError, UsageError
from ants_engine.protocol import JSON, Answer, Backend, Capabilities

__all__ = ["Coordinator", "Counts", "Outcome"]


_LOG = logging.getLogger("ants_engine.dispatch")


class Coordinator:
    """The way of every request: single flight ∘ lookup ∘ limit ∘ keep ∘ ready ∘ retry ∘ backend.

    An async context manager. Leaving it waits for what was submitted; leaving it by an exception cancels that first.
    No task, thread or socket outlives it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backend: Backend | None = None,
        on_progress: Callable[[Counts], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: ``dispatch`` and ``mllm`` are used.
            backend: ask this one, which the caller closes, instead of making the one that ``mllm`` names. Replay
                touches neither.
            on_progress: told of every change.
            sleep: how to pause between tries.
            jitter: randomness of the pauses.
        """
        self._settings = settings
        self._given = backend
        self._on_progress = on_progress
        self._sleep = sleep
        self._jitter = jitter
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._model: RecordedIdentity | None = None
        self._slots = 0
        self._phases: Counter[Phase] = Counter()
        self._endings: Counter[str] = Counter()

    @property
    def identity(self) -> Mapping[str, JSON]:
        """The model, for `Request.identity`.

        Raises:
            UsageError: the coordinator is not open.
        """
        return self._opened().identity

    @property
    def capabilities(self) -> Capabilities:
        """What the model can take; in replay, what it could when it was recorded.

        Raises:
            UsageError: the coordinator is not open.
        """
        model = self._opened()
        return Capabilities(pictures=model.pictures, text_only=model.text_only, max_concurrency=self._slots)

    @property
    def slots(self) -> int:
        """Requests that are with the backend at once, at most."""
        return self._slots

    @property
    def counts(self) -> Counts:
        """How far it is."""
        return Counts(
            asked=self._endings["asked"],
            answered=self._endings["answered"],
            from_store=self._endings["from_store"],
            failed=self._endings["failed"],
            in_flight=self._phases["asking"],
            retrying=self._phases["pausing"],
        )

    async def __aenter__(self) -> Self:
        """Open the store and the backend, and find out which model it is.

        Raises:
            UsageError: the backend or its options are not known, or its model cannot be found.
            StoreError: the store cannot be opened, or, in replay, does not say which model to replay.
            BackendError: the backend cannot say which model it is.
        """
        async with AsyncExitStack() as stack:
            self._responder = await self._open(stack)
            self._group = await stack.enter_async_context(asyncio.TaskGroup())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was submitted, or cancel it, and close."""
        if error is not None:
            for task in self._tasks:
                task.cancel()
        try:
            # The group is not told of the error: it would wrap it into an ExceptionGroup.
            await self._stack.__aexit__(None, None, None)
        finally:
            self._group = None

    def submit(self, request: Request) -> asyncio.Task[Outcome]:
        """Start a request. Requests get their turn in the order of submission.

        Returns:
            A task that ends with an `Outcome`, whatever happens to the request; awaiting it raises only cancellation.

        Raises:
            UsageError: the coordinator is not open.
        """
        self._opened()
        if self._group is None:
            raise UsageError("this coordinator is closed")
        self._endings["asked"] += 1
        task = self._group.create_task(self._run(request, time.monotonic()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._tell()
        return task

    async def _run(self, request: Request, started: float) -> Outcome:
        phase: Phase = "waiting"

        def changed(trace: Trace) -> None:
            nonlocal phase
            if trace.phase != phase:
                self._phases[phase] -= 1
                self._phases[trace.phase] += 1
                phase = trace.phase
                self._tell()

        trace = Trace(changed)
        answer: Answer | None = None
        error: Exception | None = None
        self._phases[phase] += 1
        try:
            answer = await self._responder.answer(request, trace)
        except asyncio.CancelledError:
            self._endings["asked"] -= 1
            raise
        except Exception as caught:
            # Whatever it is, it costs this one answer and no other.
            error = caught
        finally:
            self._phases[phase] -= 1
        self._count(trace.source, answered=answer is not None)
        # an outcome lives as long as the build: neither the picture nor the frames that held it may
        shown = replace(request, picture=None)
        bare = None if error is None else _without_frames(error)
        return Outcome(shown, answer, bare, trace.source, trace.attempts, time.monotonic() - started)

    def _count(self, source: Source, *, answered: bool) -> None:
        self._endings["answered" if answered else "failed"] += 1
        self._endings["from_store"] += answered and source == "store"
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            try:
                self._on_progress(self.counts)
            except Exception:
                # A fault in what is shown must not cost an answer.
                _LOG.exception("the progress callback failed and is not called again")
                self._on_progress = None

    def _opened(self) -> RecordedIdentity:
        if self._model is None:
            raise UsageError("this coordinator is not open: use it as 'async with Coordinator(...)'")
        return self._model

    async def _open(self, stack: AsyncExitStack) -> Responder:
        dispatch, mllm = self._settings.dispatch, self._settings.mllm
        if dispatch.mode == "replay":
            store = await stack.enter_async_context(ResponseStore(dispatch.store, strict=True))
            self._model = await recorded_identity(store, *self._declared())
            self._slots = dispatch.max_concurrency or Capabilities().max_concurrency
            return SingleFlight(ReplayResponder(store))
        backend = self._given
        if backend is None:
            backend = create_backend(mllm)
            stack.push_async_callback(backend.aclose)
        self._slots = dispatch.max_concurrency or backend.capabilities.max_concurrency
        name, model = self._declared()
        self._model = RecordedIdentity(
            backend=name,
            model=model,
            identity=await _identify(backend),
            pictures=backend.capabilities.pictures,
            text_only=backend.capabilities.text_only,
        )
        retry = RetryResponder(
            BackendResponder(backend),
            attempts=dispatch.attempts,
            attempt_timeout=dispatch.attempt_timeout if backend.capabilities.timed else math.inf,
            deadline=dispatch.deadline if backend.capabilities.timed else math.inf,
            sleep=self._sleep,
            jitter=self._jitter,
        )
        ready = ReadyResponder(retry, backend)
        gate = FixedGate(self._slots)
        if dispatch.mode == "live":
            return SingleFlight(LimitResponder(ready, gate))
        store = await stack.enter_async_context(ResponseStore(dispatch.store))
        await store.put_identity(self._model)
        return SingleFlight(LookupResponder(LimitResponder(KeepResponder(ready, store), gate), store))

    def _declared(self) -> tuple[str, str]:
        """Name backend and model without making or touching either."""
        if self._given is not None:
            return backend_name(type(self._given)), ""
        return self._settings.mllm.backend, declared_model(self._settings.mllm)


def _without_frames(error: Exception) -> Exception:
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
    return error


async def _identify(backend: Backend) -> Mapping[str, JSON]:
    name = type(backend).__name__
    try:
        identity = await backend.identity()
    except ANTSError:
        raise
    except Exception as error:
        raise FinalBackendError(f"the backend {name} cannot say which model it is: {type(error).__name__}") from error
    try:
        json.dumps(dict(identity), ensure_ascii=False, allow_nan=False).encode("utf-8")
        if not identity:
            raise ProtocolError(f"the backend {name} does not say which model it is: its identity is empty")
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the identity that the backend {name} gives is not JSON: {error}") from error
    return identity
