"""Answers requests: the detector with its queue, its streams, and the server's state."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TypeVar

from PIL import Image
from starlette.requests import Request

from ants_engine.ants import ANTS
from ants_engine.common.versions import installed_versions
from ants_engine.errors import ANTSError, ImageError
from ants_engine.serve.access import Access
from ants_engine.serve.answers import (
    DetectorAnswer,
    ExplainAnswer,
    ItemExplanation,
    ItemResult,
    ItemScore,
    Limits,
    Problem,
    ScoreAnswer,
    StreamAdaptation,
    StreamAnswer,
    StreamScoreAnswer,
)
from ants_engine.serve.inputs import ByteBudget, Item, Upload, read_items
from ants_engine.serve.metrics import ServerMetrics
from ants_engine.serve.options import Refusal, ServeOptions
from ants_engine.serve.scorer import Scored, Scorer
from ants_engine.serve.streams import NamedStream, NamedStreams, make_batch

T = TypeVar("T")
_LOG = logging.getLogger("ants_engine.serve")
_PIXEL_BLOCK = 64 << 20
"""Bytes of one block of pixels in Pillow, at most. Blocks over 32 MiB (glibc's greatest threshold for mmap) go back to
the system when they are freed; smaller ones may stay with their thread."""


class GoneError(Exception):
    """The client has disconnected before the answer."""


class Service:
    """Answers requests with one detector. `start` it on the loop; `aclose` ends it."""

    def __init__(self, ants: ANTS, options: ServeOptions) -> None:
        """Load CLIP and build the parts (blocking, seconds).

        Raises:
            UsageError: CLIP cannot be loaded, others could connect without a token, or the MLLM of streams cannot be
                used.
        """
        self.options = options
        self.access = Access(options)
        self.metrics = ServerMetrics()
        encoder = ants.encoder
        self._detector = ants.detector
        limits = ants.settings.pictures
        limits = limits.model_copy(
            update={
                "max_pixels": min(limits.max_pixels, options.max_pixels),
                "max_bytes": min(limits.max_bytes, options.max_body),
            }
        )
        self._limits = limits
        self.scorer = Scorer(self._detector, encoder, limits, options, self.metrics)
        self._streams: NamedStreams | None = None
        if options.streams:
            self._streams = NamedStreams(ants.fork(), ants.make_backend(), options)
        self._budget = ByteBudget(options.max_held)
        # two, so that one large body does not delay all others
        self._parsing = ThreadPoolExecutor(2, thread_name_prefix="ants-serve-parse")
        self.started = False
        self.stopping = False
        """The server shuts down; requests on open connections are still answered."""
        self.problems: list[str] = []
        """Errors during shutdown."""
        self.metrics.gauge("waiting_pictures", "Accepted and not answered", lambda: self.scorer.waiting)
        self.metrics.gauge("held_bytes", "Bodies in memory", lambda: self._budget.held)
        self.metrics.gauge("streams", "Open named streams", lambda: len(self._streams or ()))

    def start(self) -> None:
        """Begin to answer; the loop runs."""
        # a parsing thread may hold the interpreter lock for this long at each system call of the loop
        sys.setswitchinterval(0.001)
        # otherwise each thread's allocator keeps the memory of large pictures
        Image.core.set_block_size(_PIXEL_BLOCK)  # type: ignore[attr-defined]
        self.scorer.start()
        self.started = True

    async def aclose(self) -> None:
        """End threads and tasks; streams are saved."""
        self.stopping = True
        if self._streams is not None:
            self.problems += await self._streams.aclose()
        await self.scorer.aclose()
        self._parsing.shutdown(wait=False, cancel_futures=True)

    async def score(self, request: Request) -> ScoreAnswer:
        """Answer ``POST /v1/score``.

        Raises:
            Refusal: the request cannot be taken.
            GoneError: the client has gone.
        """
        async with self._items(request) as items:
            found = await self._within(request, self.scorer.score(items), self.options.request_timeout)
        results = [self._result(item, one) for item, one in zip(items, found, strict=True)]
        return ScoreAnswer.model_construct(
            results=results, threshold=self._detector.threshold, weight=self._detector.weight
        )

    async def explain(self, request: Request, top: int) -> ExplainAnswer:
        """Answer ``POST /v1/explain``; raises what `score` raises."""
        async with self._items(request) as items:
            results = await self._within(request, self._explained(items, top), self.options.request_timeout)
        return ExplainAnswer.model_construct(
            results=results, threshold=self._detector.threshold, weight=self._detector.weight
        )

    async def score_stream(self, request: Request, name: str) -> StreamScoreAnswer:
        """Answer ``POST /v1/streams/{name}/score``; raises what `score` raises, and what `NamedStreams.open` does."""
        streams = self.streams
        async with self._items(request) as items:
            # not before: a request that cannot be scored must not open a stream
            work = self._streamed(await streams.open(name), items)
            return await self._within(request, work, self.options.stream_timeout)

    @property
    def streams(self) -> NamedStreams:
        """The named streams.

        Raises:
            Refusal: 404, this server has none.
        """
        if self._streams is None:
            raise Refusal(404, "no_streams", "this server scores frozen; ants serve --streams N opens streams")
        return self._streams

    async def save_stream(self, name: str) -> StreamAnswer:
        """Answer ``POST /v1/streams/{name}/save``.

        Raises:
            Refusal: there is no such stream, or no folder to save it in.
        """
        stream = self.streams.find(name)
        if self.options.streams_folder is None:
            raise Refusal(409, "no_folder", "this server keeps no streams; ants serve --streams-folder DIR does")
        try:
            await stream.save()
        except ANTSError as error:
            _LOG.error("stream %s: %s", name, error)  # the message is complete
            raise Refusal(503, "not_saved", "the stream could not be saved; the server's log says why") from None
        return stream.describe()

    def describe(self) -> DetectorAnswer:
        """Answer ``GET /v1/detector``."""
        detector, options = self._detector, self.options
        return DetectorAnswer(
            classes=list(detector.classes.names),
            threshold=detector.threshold,
            weight=detector.weight,
            sentences=len(detector.ens),
            look_alikes=len(detector.vsnl),
            lexicon_words=len(detector.initial),
            feature_size=detector.dim,
            clip=str(detector.clip_identity.get("sha256", "")),
            version=installed_versions(("ants-engine",))["ants-engine"] or "",
            same_bits=True,
            streams=options.streams,
            limits=Limits(body_bytes=options.max_body, pictures=options.max_pictures, pixels=self._limits.max_pixels),
        )

    @asynccontextmanager
    async def _items(self, request: Request) -> AsyncIterator[list[Item]]:
        """Yield a request's items; they have places in the queue until the block ends."""
        async with Upload(request.headers, request.receive, self.options, self._budget) as upload:
            items = await read_items(request.headers, upload.chunks(), self.options, self._parsing)
            with self.scorer.places(len(items)):
                yield items

    async def _within(self, request: Request, work: Awaitable[T], seconds: float) -> T:
        """Return the result of ``work``; cancel it when it takes too long or the client disconnects."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnect(request))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise Refusal(503, "took_too_long", f"no answer within {seconds:g} s; try again", retry_after=5) from None
        finally:
            gone.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if task.cancelled():
            raise GoneError
        return task.result()

    async def _explained(self, items: Sequence[Item], top: int) -> list[ItemExplanation]:
        found = await self.scorer.score(items)

        def explain() -> list[ItemExplanation]:
            return [
                ItemExplanation.of_explanation(item.name, one.score, self.scorer.explain(one, top))
                if isinstance(one, Scored)
                else ItemExplanation(name=item.name, error=_problem(item, one))
                for item, one in zip(items, found, strict=True)
            ]

        for one in found:
            self._count(one)
        return await asyncio.to_thread(explain)

    async def _streamed(self, stream: NamedStream, items: Sequence[Item]) -> StreamScoreAnswer:
        found = await self.scorer.score(items)
        batch = make_batch(items, found, self._detector.dim)
        try:
            scores = await stream.score(batch)
        except ANTSError as error:
            # the message may name servers, files and settings
            _LOG.error("stream %s: %s: %s", stream.name, type(error).__name__, error)
            raise Refusal(
                503, "mllm_unavailable", "the stream cannot go on; the server's log says why", retry_after=30
            ) from None
        results = [
            self._result(item, replace(one, score=scores[row]) if isinstance(one, Scored) else one)
            for row, (item, one) in enumerate(zip(items, found, strict=True))
        ]
        now = scores.adaptation
        assert now is not None  # noqa: S101  # set in every stream's scores
        return StreamScoreAnswer(
            stream=stream.name,
            results=results,
            threshold=scores.threshold,
            weight=scores.weight,
            adaptation=StreamAdaptation(**asdict(now)),
        )

    def _result(self, item: Item, one: Scored | ANTSError) -> ItemResult:
        self._count(one)
        if isinstance(one, Scored):
            score = one.score
            return ItemResult.model_construct(
                name=item.name, verdict=score.verdict.value, score=ItemScore.of(score), error=None
            )
        return ItemResult(name=item.name, error=_problem(item, one))

    def _count(self, one: Scored | ANTSError) -> None:
        if isinstance(one, Scored):
            self.metrics.items(one.score.verdict.value)
        else:
            self.metrics.items("unreadable")


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _problem(item: Item, error: ANTSError) -> Problem:
    kind = type(error).__name__
    # the answer has the name already
    message = str(error).removeprefix(f"{error.name}: " if isinstance(error, ImageError) else f"{item.name}: ")
    return Problem(type=kind, message=message)
