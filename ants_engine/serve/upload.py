"""A request's body: read within its limits of size and time, and within what all requests may hold together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self

from ants_engine.serve.options import ServeOptions
from ants_engine.serve.refusal import Refusal

Receive = Any

STEP = 1 << 16
"""Bytes that a body has to bring every `PATIENCE` seconds; a slower one gives way when there is no room left."""
PATIENCE = 1.0


class ByteBudget:
    """Bytes of bodies that are in memory now."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self.held = 0
        """How many there are."""
        self.reading: set[Upload] = set()
        """Bodies that have not come to their end."""

    def take(self, count: int) -> None:
        """Make room, if need be by ending uploads that are too slow, the slowest first.

        Raises:
            Refusal: 429, there is none.
        """
        while self.held + count > self._limit:
            slowest = min(self.reading, key=lambda upload: upload.moved, default=None)
            if slowest is None or asyncio.get_running_loop().time() - slowest.moved < PATIENCE:
                raise Refusal(429, "too_busy", "too many uploads at once; try again", retry_after=1)
            slowest.give_way()
        self.held += count

    def give_back(self, count: int) -> None:
        """Free as much."""
        self.held -= count


class Upload:
    """One body. An async context manager: what it holds of the budget is given back at the end.

    It is charged as its bytes come: an announcement holds nothing.
    """

    def __init__(self, headers: Mapping[str, str], receive: Receive, options: ServeOptions, budget: ByteBudget) -> None:
        """Look at the headers; nothing is read yet."""
        self._receive = receive
        self._options = options
        self._budget = budget
        self._held = 0
        self._announced = headers.get("content-length", "")
        self._waiting: asyncio.Timeout | None = None
        self._gives_way = False
        self.moved = 0.0
        """The loop's time at which the last `STEP` bytes were complete."""

    async def __aenter__(self) -> Self:
        if self._announced.isdigit() and int(self._announced) > self._options.max_body:
            raise self._too_large()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes.

        Raises:
            Refusal: 413 too large, 408 too slow, 429 no room, 400 broken off.
        """
        loop = asyncio.get_running_loop()
        self.moved = loop.time()
        deadline = self.moved + self._options.upload_timeout
        read = step = 0
        self._budget.reading.add(self)
        try:
            while True:
                message = await self._next(deadline)
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "broken_off", "the body was broken off")
                chunk: bytes = message.get("body", b"")
                read += len(chunk)
                if read > self._options.max_body:
                    raise self._too_large()
                if read - step >= STEP:
                    step, self.moved = read, loop.time()
                self._budget.take(len(chunk))
                self._held += len(chunk)
                if chunk:
                    yield chunk
                if not message.get("more_body", False):
                    return
        finally:
            self._budget.reading.discard(self)

    def give_way(self) -> None:
        """End it for others that are faster; what it holds is free at once."""
        self._let_go()
        self._gives_way = True
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def _next(self, deadline: float) -> Any:
        message = None
        # it may have been the slowest itself
        if not self._gives_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline) as self._waiting:
                    message = await self._receive()
            self._waiting = None
        if self._gives_way:
            raise Refusal(408, "too_slow", "the body came too slowly while others had no room", retry_after=1)
        if message is None:
            limit = self._options.upload_timeout
            raise Refusal(408, "too_slow", f"the body did not arrive within {limit:g} s")
        return message

    def _let_go(self) -> None:
        self._budget.reading.discard(self)
        self._budget.give_back(self._held)
        self._held = 0

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "too_large", f"a request may have {self._options.max_body:,} bytes; send fewer pictures at once"
        )
