"""A multimodal LLM that runs here: any `AutoModelForImageTextToText` with a chat template or a published format."""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ants_engine.errors import ANTSError, MissingDependencyError, UsageError
from ants_engine.protocol import JSON, Answer, Call, Capabilities

from ._chat import NEEDS_PICTURE, RENDERING
from ._local_model import CallResult, LocalModel, Placement, Precision, free_memory, place
from ._weights import INSTALL, Weights, check, folder_model_type, locate

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


AnswerBatch: TypeAlias = Callable[[Sequence[Call], threading.Event], Awaitable[Sequence[CallResult]]]
"""Answers a batch: one result per call, in order. The event is set when nobody waits for any of them."""


class CallBatcher:
    """Turns single calls into batches.

    When a batch is done, the next one takes the call that waited longest and those behind it that can share its batch
    (all with or all without a picture, same decoding), up to ``size``. No call waits for a batch to fill. Belongs to
    the event loop it is first used in.
    """

    def __init__(self, answer_batch: AnswerBatch, size: int) -> None:
        self._answer_batch = answer_batch
        self._size = size
        self._waiting: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        self._loop_task: asyncio.Task[None] | None = None

    async def submit(self, call: Call) -> Answer:
        """Answer one call as part of a batch.

        Raises:
            BackendError: this call failed.
            UsageError: the batcher was closed while the call was waiting.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._run(), name="ants-batcher")
        return await future

    async def aclose(self) -> None:
        """Cancel the current batch and fail the waiting calls. May be called twice."""
        task = self._loop_task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            # one turn of the loop, so that calls started together share a batch
            await asyncio.sleep(0)
            while batch := self._take():
                await self._settle(batch)
        finally:
            self._loop_task = None
            while self._waiting:
                _fail(self._waiting.popleft()[1], _closed())

    def _take(self) -> list[tuple[Call, "asyncio.Future[Answer]"]]:
        batch: list[tuple[Call, asyncio.Future[Answer]]] = []
        left: deque[tuple[Call, asyncio.Future[Answer]]] = deque()
        while self._waiting:
            call, future = self._waiting.popleft()
            if future.done():  # cancelled while it waited
                continue
            if len(batch) < self._size and (not batch or _kind(call) == _kind(batch[0][0])):
                batch.append((call, future))
            else:
                left.append((call, future))
        self._waiting = left
        return batch

    async def _settle(self, batch: list[tuple[Call, "asyncio.Future[Answer]"]]) -> None:
        futures = [future for _, future in batch]
        abandoned = threading.Event()

        def notice(_: "asyncio.Future[Answer]") -> None:
            if all(future.cancelled() for future in futures):
                abandoned.set()

        for future in futures:
            future.add_done_callback(notice)
        try:
            results = await self._answer_batch([call for call, _ in batch], abandoned)
        except asyncio.CancelledError:
            abandoned.set()
            for future in futures:
                _fail(future, _closed())
            raise
        except Exception as error:  # every caller of the batch gets it
            for future in futures:
                _fail(future, error)
            return
        for future, result in zip(futures, results, strict=True):
            if not isinstance(result, Answer):
                _fail(future, result)
            elif not future.done():
                future.set_result(result)


def _kind(call: Call) -> object:
    return call.picture is None, call.decoding


def _closed() -> UsageError:
    return UsageError("the backend was closed before it answered")


def _fail(future: "asyncio.Future[Answer]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


T = TypeVar("T")


class HuggingFaceOptions(BaseModel):
    """Settings of the huggingface backend."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(default="Qwen/Qwen2-VL-2B-Instruct", min_length=1)
    """A hub id, or a folder (``./…``, ``../…``, ``/…``, ``~…``, or one that exists)."""
    revision: str | None = None
    """A hub branch, tag or commit; empty: the newest commit of the default branch."""
    device: str = "auto"
    """``auto`` (CUDA, then MPS, then CPU) or a torch device string."""
    dtype: Precision = "auto"
    """``auto`` (bf16 on CUDA, fp32 elsewhere), ``fp32``, ``bf16`` or ``fp16``."""
    batch_size: PositiveInt = 8
    """Questions answered together at most; halved when memory runs out."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""
    cache_dir: Path | None = None
    """Where hub files are kept; the hub client's default when empty."""


class HuggingFaceBackend:
    """Answers with a transformers model in this process.

    The model is loaded once, by `load` or the first call, in the backend's own thread, which also runs it. Calls that
    wait at the same moment are answered in one batch. With temperature 0 decoding is greedy; on an accelerator the size
    of a batch can still change a last bit and, rarely, a word: ``batch_size = 1`` rules that out.
    """

    Options: ClassVar[type[BaseModel]] = HuggingFaceOptions

    def __init__(self, options: HuggingFaceOptions | None = None) -> None:
        self._options = HuggingFaceOptions() if options is None else options
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ants-huggingface")
        self._batchers: weakref.WeakKeyDictionary[AbstractEventLoop, CallBatcher] = weakref.WeakKeyDictionary()
        self._closed = False
        # the family of a local folder is known at once, of a hub model once it is pinned
        self._text_only = folder_model_type(self._options.model) not in NEEDS_PICTURE
        # used by the worker thread only
        self._pinned: tuple[Weights, Placement] | None = None
        self._model: LocalModel | None = None
        self._failure: ANTSError | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Pictures; text only, unless the family needs a picture (known after `identity` for a hub model).

        Two batches of calls at once, so that the next one is ready when a batch is done.
        """
        return Capabilities(
            text_only=self._text_only, max_concurrency=2 * self._options.batch_size, enforce_timeouts=False
        )

    async def identity(self) -> Mapping[str, JSON]:
        """Identify the model by its content (a folder's sha256 or a hub commit) and the precision. Loads no model.

        Raises:
            ModelNotFoundError: there is no such folder, or the hub has no such model or cannot be reached.
            MissingDependencyError: transformers is not installed.
            SettingError: torch knows no such device.
            UsageError: the backend is closed.
        """
        weights, placement = await self._in_thread(self._pin)
        return {"backend": "huggingface", **weights.facts(), "dtype": placement.precision, "rendering": RENDERING}

    async def check(self) -> None:
        """Check that the model's folder, or the model on the hub, exists. Loads nothing.

        Raises:
            ModelNotFoundError: it does not.
            MissingDependencyError: transformers is not installed.
            UsageError: the backend is closed.
        """
        options = self._options
        await self._in_thread(lambda: check(options.model, options.revision, options.cache_dir))

    async def load(self) -> None:
        """Load the model now, outside of the first call's time limit.

        Raises:
            ModelNotFoundError: the model cannot be found or read, or has no chat template.
            MissingDependencyError: transformers, or a package that this model needs, is not installed.
            SettingError: the device cannot be used.
            UsageError: the backend is closed.
        """
        await self._in_thread(self._ready)

    async def generate(self, call: Call) -> Answer:
        """Answer one call, in a batch with others that wait.

        Raises:
            BadRequestError: the model cannot take this call.
            ModelNotFoundError: the model cannot be found or read, or has no chat template.
            MissingDependencyError: transformers, or a package that this model needs, is not installed.
            SettingError: the device cannot be used.
            UsageError: the backend is closed.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        batcher = self._batchers.get(loop)
        if batcher is None:
            batcher = self._batchers[loop] = CallBatcher(self._answer, self._options.batch_size)
        return await batcher.submit(call)

    async def aclose(self) -> None:
        """Stop, free the model's memory and join the thread."""
        if self._closed:
            return
        batcher = self._batchers.pop(asyncio.get_running_loop(), None)
        if batcher is not None:
            await batcher.aclose()
        if self._closed:
            return
        dropped = self._in_thread(self._drop)
        self._closed = True
        await dropped
        # the thread is idle, so joining it does not block the loop
        self._thread.shutdown(wait=True)

    async def _answer(self, calls: Sequence[Call], abandoned: threading.Event) -> Sequence[CallResult]:
        return await self._in_thread(lambda: self._ready().answer(calls, abandoned))

    def _in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        self._check_open()
        return asyncio.wrap_future(self._thread.submit(work))

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the huggingface backend is closed")

    def _pin(self) -> tuple[Weights, Placement]:
        if self._pinned is None:
            options = self._options
            weights = locate(options.model, options.revision, options.cache_dir, with_code=options.trust_remote_code)
            try:
                placement = place(options.device, options.dtype)
            except ImportError as error:
                raise MissingDependencyError(INSTALL) from error
            if weights.model_type(options.cache_dir) in NEEDS_PICTURE:
                self._text_only = False
            self._pinned = weights, placement
        return self._pinned

    def _ready(self) -> LocalModel:
        if self._failure is not None:  # do not load again for every call
            raise self._failure.with_traceback(None)
        if self._model is None:
            options = self._options
            try:
                weights, placement = self._pin()
                self._model = LocalModel.load(
                    options.model,
                    weights,
                    placement,
                    trust_remote_code=options.trust_remote_code,
                    cache_dir=options.cache_dir,
                )
                if self._model.needs_picture:
                    self._text_only = False
            except ANTSError as error:
                self._failure = error
                raise
        return self._model

    def _drop(self) -> None:
        if self._model is not None:
            self._model = None
            free_memory()
