"""An `ANTS` behind blocking calls, frozen or adapting with every call, on an event loop in its own thread."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.adapters.clip_inputs import InputEncoder, check_inputs, pictures_of
from ants_engine.ants import ANTS
from ants_engine.clip.encoding import Encoder
from ants_engine.dispatch.backend_registry import create_backend
from ants_engine.errors import UsageError
from ants_engine.protocol import Backend

if TYPE_CHECKING:
    from ants_engine.detector.scores import Scores

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Running:
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    stack: AsyncExitStack


class LoopThread:
    """An event loop in its own thread, for synchronous callers whose own thread may run a loop already.

    The thread starts with the first coroutine and ends with `close`, or with this object.
    """

    def __init__(self) -> None:
        """Prepare; no thread is started."""
        self._running: _Running | None = None
        self._end: Callable[[], object] = _nothing
        self._closed = False
        self._starting = threading.Lock()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result; an interrupted wait cancels it.

        Raises:
            UsageError: this object is closed.
        """
        with self._starting:
            if self._closed:
                work.close()
                raise UsageError("this adapter is closed; make a new one")
            running = self._running or self._start()
        future = asyncio.run_coroutine_threadsafe(work, running.loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C: nobody else could cancel the work
            future.cancel()
            raise

    def on_close(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Await ``callback`` on the loop before it ends. Call it from a coroutine that `run` runs.

        Raises:
            UsageError: the loop is not running.
        """
        if self._running is None:
            raise UsageError("the loop has not begun")
        self._running.stack.push_async_callback(callback)

    def close(self) -> None:
        """Cancel running coroutines, await the callbacks of `on_close`, and end the thread. May be called twice."""
        with self._starting:
            self._closed = True
        self._end()

    def _start(self) -> _Running:
        started: Future[_Running] = Future()
        thread = threading.Thread(target=_serve, args=(started,), name="ants-sync", daemon=True)
        thread.start()
        self._running = started.result()
        end = weakref.finalize(self, _end, self._running, thread)
        # at interpreter exit no thread can be started any more, so an orderly shutdown is impossible
        end.atexit = False
        self._end = end
        return self._running


def _nothing() -> None:
    pass


def _serve(started: "Future[_Running]") -> None:
    async def wait() -> None:
        async with AsyncExitStack() as stack:
            running = _Running(asyncio.get_running_loop(), asyncio.Event(), stack)
            started.set_result(running)
            await running.stop.wait()
            own = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not own]
            for task in tasks:
                task.cancel()
            # the resources they use are closed after them
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(wait())


def _end(running: _Running, thread: threading.Thread) -> None:
    running.loop.call_soon_threadsafe(running.stop.set)
    # garbage collection may run in that very thread
    if threading.current_thread() is not thread:
        thread.join()


class Verdicts(NamedTuple):
    """One entry per picture, in input order."""

    id_score: NDArray[np.float32]
    """(N,) in [0, 1]; higher = more in-distribution."""
    predicted: NDArray[np.int64]
    """(N,) index of the nearest ID class."""


class SyncANTS:
    """Blocking calls on an `ANTS`, which it builds or is given."""

    def __init__(
        self, ants: ANTS, *, streaming: bool, backend: Backend | None = None, loop: LoopThread | None = None
    ) -> None:
        """Take a finished detector.

        Args:
            ants: `reset` restores its current state.
            streaming: adapt to everything that is scored.
            backend: an MLLM in place of the detector's; the caller closes it.
            loop: this object takes ownership; a new one by default.
        """
        self.ants = ants
        self.streaming = streaming
        self.backend = backend
        self._start = ants.state
        self._loop = loop or LoopThread()
        self._input_encoder: InputEncoder | None = None

    @classmethod
    def build(
        cls,
        id_classes: Any,
        images: Any = None,
        *,
        features: Any = None,
        streaming: bool,
        encoder: Encoder | None = None,
        backend: Backend | None = None,
        **settings: Any,
    ) -> "SyncANTS":
        """Build a detector as `ANTS.build` does, blocking.

        Raises:
            ANTSError: what `ANTS.build` raises.
        """
        loop = LoopThread()
        made = ANTS.build(id_classes, images, features=features, encoder=encoder, backend=backend, **settings)
        try:
            ants = loop.run(made)
        except BaseException:
            loop.close()
            raise
        return cls(ants, streaming=streaming, backend=backend, loop=loop)

    @property
    def input_encoder(self) -> InputEncoder:
        """CLIP's image tower; always the same object, so that caches can use its identity."""
        if self._input_encoder is None:
            self._input_encoder = InputEncoder(self.ants.encoder)
        return self._input_encoder

    def score_features(self, features: Any, images: Any = None) -> Verdicts:
        """Score features (N, D) and, when streaming, adapt to them.

        Args:
            features: numpy or torch, any float dtype.
            images: the same N pictures, for the MLLM; without them no captions are requested.

        Raises:
            FeatureError: wrong shape or dtype, or rows that are NaN, infinite or all zero.
            ANTSError: when streaming, what `Stream` raises.
        """
        if not self.streaming or not len(features):
            scores = self.ants.score_features(features)
            return Verdicts(scores.id_score, scores.predicted)
        return self._loop.run(self._streamed(features, images))

    def score_inputs(self, x: Tensor, paths: Sequence[str] | None = None) -> Verdicts:
        """Score preprocessed pictures (B, 3, H, W) and, when streaming, adapt to them.

        Args:
            x: as ``ants.encoder.preprocess`` makes them.
            paths: their files, for the MLLM; without them it is shown what CLIP sees.

        Raises:
            FeatureError: ``x`` does not fit this CLIP.
            UsageError: the detector was made from features and has no CLIP.
            ANTSError: when streaming, what `Stream` raises.
        """
        features = self.input_encoder(x)
        if not self.streaming or paths is not None:
            return self.score_features(features, paths)
        encoder = self.ants.encoder
        # an iterator, so that only pictures that may have to be described are kept, and on disk
        return self.score_features(features, pictures_of(check_inputs(x, encoder), encoder))

    def learn(self, images: Any) -> None:
        """Build the detector anew from unlabelled pictures, with the same classes, CLIP, MLLM and settings.

        Raises:
            ANTSError: what `ANTS.build` raises.
        """
        old = self.ants
        backend = self.backend or old.backend
        made = ANTS.build(old.detector.classes, images, config=old.settings, encoder=old.encoder, backend=backend)
        self.ants = self._loop.run(made)
        self._start = self.ants.state

    def reset(self) -> None:
        """When streaming, forget everything that was scored since this object was made.

        Raises:
            UsageError: a stream of this detector is under way.
        """
        if self.streaming:
            # checks that no stream is under way
            self.ants.reset()
            self.ants.adopt(self._start)

    def close(self) -> None:
        """End the loop, and the MLLM if it was created here. May be called twice."""
        self._loop.close()

    async def _streamed(self, features: Any, images: Any) -> Verdicts:
        stream = self.ants.stream(images, features=features, backend=self._kept_backend())
        async with aclosing(stream):
            parts = [scores async for scores in stream]
        return _joined(parts)

    def _kept_backend(self) -> Backend | None:
        """Keep the MLLM between calls; otherwise every stream would load its own."""
        settings = self.ants.settings
        if self.backend is None and settings.dispatch.mode != "replay" and self.ants.backend is None:
            self.backend = create_backend(settings.mllm)
            self._loop.on_close(self.backend.aclose)
        return self.backend


def _joined(parts: Sequence["Scores"]) -> Verdicts:
    return Verdicts(
        np.concatenate([part.id_score for part in parts]), np.concatenate([part.predicted for part in parts])
    )
