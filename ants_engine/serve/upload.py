"""A request's body: read within its limits of size and time, and within what all requests may hold together."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self

from ants_engine.serve.options import ServeOptions
from ants_engine.serve.refusal import Refusal

Receive = Any


class ByteBudget:
    """Bytes of bodies that are in memory now."""

    def __init__(self, limit: int) -> None:
        """Start with none."""
        self._limit = limit
        self.held = 0
        """How many there are."""

    def take(self, count: int) -> None:
        """Make room.

        Raises:
            Refusal: 429, there is none.
        """
        if self.held + count > self._limit:
            raise Refusal(429, "too_busy", "too many uploads at once; try again", retry_after=1)
        self.held += count

    def give_back(self, count: int) -> None:
        """Free as much."""
        self.held -= count


class Upload:
    """One body. An async context manager: what it holds of the budget is given back at the end."""

    def __init__(self, headers: Mapping[str, str], receive: Receive, options: ServeOptions, budget: ByteBudget) -> None:
        """Look at the headers; nothing is read yet."""
        self._receive = receive
        self._options = options
        self._budget = budget
        self._held = 0
        self._announced = headers.get("content-length")

    async def __aenter__(self) -> Self:
        if self._announced is not None and self._announced.isdigit():
            announced = int(self._announced)
            if announced > self._options.max_body:
                raise self._too_large()
            self._hold(announced)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self._held)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes.

        Raises:
            Refusal: 413 too large, 408 too slow, 429 no room, 400 broken off.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.upload_timeout
        read = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await self._receive()
            except TimeoutError:
                limit = self._options.upload_timeout
                raise Refusal(408, "too_slow", f"the body did not arrive within {limit:g} s") from None
            if message["type"] == "http.disconnect":
                raise Refusal(400, "broken_off", "the body was broken off")
            chunk: bytes = message.get("body", b"")
            read += len(chunk)
            if read > self._options.max_body:
                raise self._too_large()
            if read > self._held:
                self._hold(read - self._held)
            if chunk:
                yield chunk
            if not message.get("more_body", False):
                return

    def _hold(self, count: int) -> None:
        self._budget.take(count)
        self._held += count

    def _too_large(self) -> Refusal:
        return Refusal(
            413, "too_large", f"a request may have {self._options.max_body:,} bytes; send fewer pictures at once"
        )
