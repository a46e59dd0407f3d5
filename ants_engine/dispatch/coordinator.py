"""Runs requests concurrently through all layers, and returns how each ended."""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ants_engine.dispatch.backend_registry import backend_name, create_backend, declared_model
from ants_engine.dispatch.limits.budget import Spent
from ants_engine.dispatch.observer import Observer, Observers
from ants_engine.dispatch.pipeline import Pipeline
from ants_engine.dispatch.recording import PatientStore
from ants_engine.dispatch.replay import ReplayResponder, recorded_identity
from ants_engine.dispatch.request import Outcome, Phase, RecordedIdentity, Request, RequestProgress, Source
from ants_engine.dispatch.runs.run_folder import RunFolder
from ants_engine.dispatch.runs.telemetry import Telemetry
from ants_engine.dispatch.single_flight import RequestLocks, SingleFlight
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.throughput_monitor import Counts, Pulse, ThroughputMonitor
from ants_engine.errors import ANTSError, FinalBackendError, ProtocolError, UsageError
from ants_engine.protocol import JSON, Answer, Backend, Capabilities
from ants_engine.settings.config import Settings

_LOG = logging.getLogger("ants_engine.dispatch")
HEARTBEAT = 1.0
"""Seconds between two checks whether a run moves."""
NOTED = 5
"""Heartbeats from one ``progress`` event to the next."""


class Coordinator:
    """Sends requests through single flight, the layers of `Pipeline`, and the backend.

    An async context manager. Leaving it waits for submitted requests. Leaving it by an exception or a cancellation
    cancels requests that are not with the backend, and gives the others ``dispatch.grace`` seconds to finish and be
    stored; a second cancellation cancels those as well. No task, thread or socket outlives it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backend: Backend | None = None,
        on_progress: Callable[[Counts], None] | None = None,
        observers: Iterable[Observer] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            settings: ``dispatch`` and ``mllm`` are used.
            backend: used, and closed by the caller, instead of the one that ``mllm`` names. Replay uses neither.
            on_progress: called on every change, and once a second while requests are pending.
            observers: told of everything that happens, besides the run folder and telemetry.
            sleep: how to pause between attempts.
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
        self._monitor = ThroughputMonitor()
        self._pipeline: Pipeline | None = None
        self._flights: SingleFlight | None = None
        self._heart: asyncio.Task[None] | None = None
        self._on_heartbeat: Callable[[], None] | None = None
        self._run_folder: RunFolder | None = None
        self._observers = Observers(self._listening(observers))

    @property
    def identity(self) -> Mapping[str, JSON]:
        """The model's identity, for `Request`.

        Raises:
            UsageError: the coordinator is not open.
        """
        return self._opened().identity

    @property
    def capabilities(self) -> Capabilities:
        """The backend's capabilities; in replay, the recorded ones.

        Raises:
            UsageError: the coordinator is not open.
        """
        model = self._opened()
        return Capabilities(pictures=model.pictures, text_only=model.text_only, max_concurrency=self._slots)

    @property
    def run(self) -> str | None:
        """Name of this run's folder below ``dispatch.runs``; None before it is open, or without run folders."""
        path = None if self._run_folder is None else self._run_folder.path
        return None if path is None else path.name

    @property
    def slots(self) -> int:
        """Most requests that are with the backend at once."""
        return self._slots

    @property
    def counts(self) -> Counts:
        """Progress."""
        return Counts(
            asked=self._endings["asked"],
            answered=self._endings["answered"],
            from_store=self._endings["from_store"],
            failed=self._endings["failed"],
            in_flight=self._phases["asking"],
            storing=self._phases["storing"],
            retrying=self._phases["pausing"],
            sharing=self._phases["sharing"],
        )

    @property
    def pulse(self) -> Pulse:
        """Throughput, and what it waits for."""
        pipeline = self._pipeline
        if pipeline is None:
            return self._monitor.read(limit=self._slots, slots=self._slots, holding=None, spent=Spent())
        gate, spent, down = pipeline.gate, pipeline.budget.spent, pipeline.outage.down_since
        return self._monitor.read(
            limit=gate.limit, slots=self._slots, holding=gate.holding(), spent=spent, down_since=down
        )

    async def __aenter__(self) -> Self:
        """Open the store and the backend, and identify the model.

        Raises:
            UsageError: the backend or its options are unknown, or its model cannot be found.
            StoreError: the store cannot be opened, or, in replay, does not say which model to replay.
            BackendError: the backend cannot identify its model.
        """
        async with AsyncExitStack() as stack:
            self._flights = await self._open(stack)
            model = self._opened()
            self._observers.begin(
                {
                    "mode": self._settings.dispatch.mode,
                    "backend": model.backend,
                    "model": model.model,
                    "identity": dict(model.identity),
                    "slots": self._slots,
                }
            )
            self._group = await stack.enter_async_context(asyncio.TaskGroup())
            self._heart = asyncio.get_running_loop().create_task(self._beat(), name="ants-heartbeat")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for submitted requests, or cancel them, and close."""
        if error is not None:
            for task in self._tasks:
                task.cancel()
        ending = "done" if error is None else "interrupted"
        if isinstance(error, Exception):
            ending = f"failed: {type(error).__name__}"
        try:
            try:
                await self._finish(interrupted=error is not None)
            finally:
                # without the error, which the task group would wrap into an ExceptionGroup
                await self._stack.__aexit__(None, None, None)
        except BaseException:
            ending = "interrupted"
            raise
        finally:
            self._group = None
            await self._stop_heart()
            if self._endings["asked"]:
                self._note(self.pulse)
            await self._close_observers(ending)

    async def _finish(self, *, interrupted: bool) -> None:
        """Wait for the tasks, then for detached calls to the backend."""
        flights, grace = self._flights, self._settings.dispatch.grace
        if flights is None:
            return
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
            if flights.in_flight and interrupted:
                self._observers.event("interrupted", under_way=flights.in_flight, grace=grace)
                _LOG.warning(
                    "%d calls are in flight and have %g s to finish; interrupt again to end at once",
                    flights.in_flight,
                    grace,
                )
        finally:
            if late := await flights.finish(grace):
                _LOG.warning("%d calls in flight did not finish within %g s; their answers are lost", late, grace)

    async def _beat(self) -> None:
        """Report once a second, so that a progress bar tells waiting from stuck."""
        told, beats = False, 0
        while True:
            await asyncio.sleep(HEARTBEAT)
            beats += 1
            pulse = self.pulse
            if pulse.stuck and not told:
                self._observers.event("stuck", quiet=round(pulse.quiet, 1), oldest=round(pulse.oldest, 1))
                _LOG.warning(
                    "no response from the MLLM for %.0f s; the oldest of %d calls is %.0f s old",
                    pulse.quiet,
                    self._phases["asking"],
                    pulse.oldest,
                )
            told = pulse.stuck
            if self._tasks:
                self._tell()
                if self._on_heartbeat is not None:
                    self._on_heartbeat()
                if beats % NOTED == 1:
                    self._note(pulse)

    def _note(self, pulse: Pulse) -> None:
        """Record the progress."""
        counts = self.counts
        self._observers.event(
            "progress",
            asked=counts.asked,
            in_flight=counts.in_flight,
            waiting=counts.waiting,
            retrying=counts.retrying,
            sharing=counts.sharing,
            limit=pulse.limit,
            per_second=round(pulse.per_second, 3),
            cost=round(pulse.spent.cost, 6),
        )

    async def _close_observers(self, ending: str) -> None:
        # on a thread of its own: syncing a run folder to disk may be slow
        thread = ThreadPoolExecutor(1, thread_name_prefix="ants-close")
        closing = asyncio.get_running_loop().run_in_executor(thread, self._observers.close, ending)
        try:
            await asyncio.shield(closing)
        finally:
            thread.shutdown(wait=closing.done())

    async def _stop_heart(self) -> None:
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.cancel()
            await asyncio.wait([heart])

    def on_heartbeat(self, callback: Callable[[], None]) -> None:
        """Set a function that is called once a second while requests are pending."""
        self._on_heartbeat = callback

    def submit(self, request: Request) -> asyncio.Task[Outcome]:
        """Start a request. Requests are admitted in the order of submission.

        Returns:
            A task whose result is an `Outcome`, also for a failed request; it raises only cancellation.

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
        flights = self._flights
        assert flights is not None  # noqa: S101  # checked by submit

        def changed(progress: RequestProgress) -> None:
            nonlocal phase
            if progress.phase != phase:
                self._phases[phase] -= 1
                self._phases[progress.phase] += 1
                if progress.phase == "asking":
                    self._monitor.asking(id(progress))
                elif phase == "asking":
                    self._monitor.came_back(id(progress), answered=progress.answered)
                phase = progress.phase
                self._tell()

        progress = RequestProgress(changed)
        answer: Answer | None = None
        error: Exception | None = None
        self._phases[phase] += 1
        try:
            answer = await flights.answer(request, progress)
        except asyncio.CancelledError:
            self._endings["asked"] -= 1
            raise
        except Exception as caught:
            # costs this answer and no other
            error = caught
        finally:
            if phase == "asking":
                self._monitor.came_back(id(progress), answered=False)
            self._phases[phase] -= 1
        self._count(progress.source, answered=answer is not None)
        # an outcome lives long: it must not keep the picture, or frames that hold it
        shown = request.without_picture()
        bare = None if error is None else _without_frames(error)
        outcome = Outcome(shown, answer, bare, progress.source, progress.attempts, time.monotonic() - started)
        self._observers.ended(outcome)
        return outcome

    def _count(self, source: Source, *, answered: bool) -> None:
        self._endings["answered" if answered else "failed"] += 1
        self._endings["from_store"] += answered and source == "store"
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            try:
                self._on_progress(self.counts)
            except Exception:
                # a faulty callback must not cost an answer
                _LOG.exception("the progress callback failed and is not called again")
                self._on_progress = None

    def _opened(self) -> RecordedIdentity:
        if self._model is None:
            raise UsageError("this coordinator is not open: use it as 'async with Coordinator(...)'")
        return self._model

    async def _open(self, stack: AsyncExitStack) -> SingleFlight:
        dispatch, mllm = self._settings.dispatch, self._settings.mllm
        if dispatch.mode == "replay":
            strict = await stack.enter_async_context(ResponseStore(dispatch.store, strict=True))
            self._model = await recorded_identity(strict, *self._declared())
            self._slots = dispatch.max_concurrency or Capabilities().max_concurrency
            return SingleFlight(ReplayResponder(strict))
        backend = self._given
        if backend is None:
            backend = create_backend(mllm)
            stack.push_async_callback(backend.aclose)
        name, model = self._declared()
        self._model = RecordedIdentity(
            backend=name,
            model=model,
            identity=await _identify(backend),
            pictures=backend.capabilities.pictures,
            text_only=backend.capabilities.text_only,
        )
        pipeline = Pipeline(self._settings, backend, self._observers, sleep=self._sleep, jitter=self._jitter)
        stack.callback(pipeline.gate.close)
        self._pipeline, self._slots = pipeline, pipeline.slots
        if dispatch.mode == "live":
            return SingleFlight(pipeline.live())
        store = await stack.enter_async_context(ResponseStore(dispatch.store))
        await store.put_identity(self._model)
        patient = PatientStore(store, patience=dispatch.store_patience, observer=self._observers)
        stack.push_async_callback(patient.aclose)
        locks = RequestLocks(store.folder, patience=dispatch.deadline)
        locks.open()
        stack.callback(locks.close)
        return SingleFlight(pipeline.recording(patient, locks), finish_detached=True)

    def _listening(self, observers: Iterable[Observer]) -> Iterable[Observer]:
        runs = self._settings.dispatch.runs
        if runs is not None:
            self._run_folder = RunFolder(runs, self._settings)
            yield self._run_folder
        telemetry = Telemetry.of_application()
        if telemetry is not None:
            yield telemetry
        yield from observers

    def _declared(self) -> tuple[str, str]:
        """Return the names of backend and model without creating either."""
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
        raise FinalBackendError(f"the backend {name} cannot identify its model: {type(error).__name__}") from error
    try:
        json.dumps(dict(identity), ensure_ascii=False, allow_nan=False).encode("utf-8")
        if not identity:
            raise ProtocolError(f"the backend {name} does not identify its model: its identity is empty")
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"the identity of the backend {name} is not JSON: {error}") from error
    return identity
