"""Our stream, batch by batch on demand: nothing of a batch is done before it is asked for."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.detector.scores import Scores
from benchmarks.random_world import TEMPERATURE, RandomWorld, answer, numbered_picture


@dataclass(frozen=True, slots=True)
class Scored:
    """One batch."""

    scores: Scores
    seconds: float

    @property
    def asked(self) -> bool:
        """Whether it asked for captions."""
        now = self.scores.adaptation
        return now is not None and now.captions_asked is not None


class GatedStream:
    """`ANTS.stream` at preset ``reference`` over given features, with pictures that only the MLLM sees."""

    def __init__(self, world: RandomWorld, features: Tensor, batch_size: int, **settings: Any) -> None:
        """Build the detector; nothing is scored yet."""
        self._features = features
        self._batch_size = batch_size
        self._open = asyncio.Semaphore(0)
        backend = ScriptedBackend.from_callable(answer)
        # it keeps every call for tests to look at, and this is about what the engine keeps
        backend.calls = _Forgetful()
        self._ants = ANTS.from_features(
            world.names,
            world.classes,
            negative_features=world.negatives,
            text_encoder=world.encode,
            logit_scale=1 / TEMPERATURE,
            backend=backend,
            preset="reference",
            dispatch={"mode": "live", "runs": None},
            progress={"bar": "off"},
            **settings,
        )
        self._stream = self._ants.stream(self._pictures(), features=features, batch_size=batch_size)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.aclose()

    async def next(self) -> Scored:
        """Score the next batch.

        Raises:
            StopAsyncIteration: there is none.
        """
        began = time.perf_counter()
        self._open.release()
        scores = await anext(self._stream)
        return Scored(scores, time.perf_counter() - began)

    async def _pictures(self) -> AsyncIterator[NDArray[np.uint8]]:
        for number in range(len(self._features)):
            if number % self._batch_size == 0:
                await self._open.acquire()
            yield numbered_picture(number)


class _Forgetful(list[Any]):
    def append(self, item: Any) -> None:
        """Keep nothing."""
