"""The page of a run while it goes on.

::

    async with LivePage() as page:
        print(page.url)
        ants = await ANTS.build(id_classes, images, observers=[page.state])
"""

import asyncio
from types import TracebackType
from typing import Self

from ants_engine.report.live_server import LiveServer
from ants_engine.report.live_state import LiveState


class LivePage:
    """Serves a page that grows, on loopback; an async context manager.

    Hand `state` to a build or a stream as one of its observers, and open `url`. Only who knows the address, which has a
    random part, can read the page. Leaving the context makes the thumbnails that are still missing, if somebody looks
    and for five seconds at most, then tells the page how it ended, and waits a second for it at most.
    """

    def __init__(self, title: str = "ANTS", port: int = 0) -> None:
        """Prepare.

        Args:
            title: what stands above the page.
            port: of 127.0.0.1; 0 takes a free one.
        """
        self.state = LiveState(title)
        """Listens; see `RunObserver`."""
        self._port = port
        self._server = LiveServer(self.state)

    @property
    def url(self) -> str:
        """The page's address, once the context is entered."""
        return self._server.url

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            UsageError: the port cannot be used.
        """
        await self._server.start(self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell readers of the end, and close."""
        if error is None:
            self.state.end("done")
        elif isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
            self.state.end("interrupted", ["What was answered is kept; the same command goes on from there."])
        else:
            # only the kind: a message may name what the page does not show
            self.state.end("failed", [f"{type(error).__name__}; the terminal says more."])
        await self._server.stop()
