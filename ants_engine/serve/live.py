"""The page of a run while it goes on: uvicorn in the run's own event loop, on loopback only.

::

    async with LivePage() as page:
        print(page.url)
        ants = await ANTS.build(id_classes, images, observers=[page.state])
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from types import TracebackType
from typing import Any, Self

from ants_engine.clip.image_ref import ImageRef
from ants_engine.errors import MissingDependencyError
from ants_engine.report.live_state import LiveState
from ants_engine.report.thumbnails import thumbnail
from ants_engine.serve.access import listen
from ants_engine.serve.options import Refusal, ServeOptions
from ants_engine.settings.config import ImageSettings

try:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response, StreamingResponse

    from ants_engine.serve.timed_protocol import timed_protocol
except ImportError:
    raise MissingDependencyError('the live page needs uvicorn: pip install "ants-engine[serve]"') from None

HOST = "127.0.0.1"
READERS = 32
"""Connections at the same time."""
HEAD = 8192
"""Bytes of a request's line and headers."""
PATIENCE = 5.0
"""Seconds for a request to arrive, and for a reader to take what it is sent; then the connection is dropped."""
PACE = 0.5
"""Seconds between two events to one reader: all changes in between are one event."""
QUIET = 10.0
"""Seconds after which a reader is sent a comment, so that a closed connection is noticed."""
FAREWELL = 1.0
"""Seconds that all readers together have to take the last event."""
LAST_PICTURES = 5.0
"""Seconds that the end waits at most for missing thumbnails, if somebody looks."""
RESTING = 4
"""After a thumbnail that took t seconds, none is made for this many times t."""
BUFFER = 65536
"""Bytes that the system holds for a slow reader."""
SITES = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a request by this page or its user."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
ASSETS = {
    "": ("live.html", "text/html"),
    "live.js": ("live.js", "text/javascript"),
    "live.css": ("live.css", "text/css"),
    "report.css": ("report.css", "text/css"),
}


class LivePage:
    """Serves a page that grows with a run, on loopback; an async context manager.

    Hand `state` to a build or a stream as one of its observers, and open `url`. The address has a random part, and
    only those who know it can read the page. A reader has no queue: it is sent what has changed since its last event
    once it has taken that, so a slow one gets fewer events, and one that takes nothing is dropped.

    Leaving the context makes the thumbnails that are still missing if somebody looks, in five seconds at most, then
    tells the page how the run ended, and waits a second for it at most.
    """

    def __init__(self, title: str = "ANTS", port: int = 0) -> None:
        """Prepare; nothing is opened yet.

        Args:
            title: the page's heading.
            port: of 127.0.0.1; 0 takes a free one.
        """
        self.state = LiveState(title)
        """The page's content; see `RunObserver`."""
        self._port = port
        self._token = secrets.token_urlsafe(24)
        self._ending = asyncio.Event()
        self._looking = 0
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="ants-live")

    @property
    def url(self) -> str:
        """The page's address with its secret part, once the context is entered."""
        return f"http://{HOST}:{self._port}/{self._token}/"

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            UsageError: the port cannot be used.
        """
        bound = listen(ServeOptions(host=HOST, port=self._port))
        # connections inherit it
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        # a browser may connect before uvicorn has started
        bound.listen(READERS)
        self._port = bound.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=timed_protocol(PATIENCE, READERS),
                h11_max_incomplete_event_size=HEAD,
                ws="none",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
            )
        )
        self._serving = asyncio.create_task(self._server.serve([bound]), name="ants-live-server")
        self._painter = asyncio.create_task(self._make_thumbnails(), name="ants-live-thumbnails")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell readers how the run ended, and close."""
        if error is None:
            self.state.end("done")
        elif isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
            self.state.end("interrupted", ["Answers so far are kept; the same command goes on from there."])
        else:
            # only the kind: a message may name what the page does not show
            self.state.end("failed", [f"{type(error).__name__}; the terminal says more."])
        await self._last_pictures()
        self._ending.set()
        self._server.should_exit = True
        await asyncio.wait([self._serving], timeout=FAREWELL)
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        self._painter.cancel()
        await asyncio.wait([self._serving, self._painter])
        self._decoder.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request (ASGI)."""
        request = Request(scope)
        try:
            path = self._path(request)
            if path == "events":
                await self._tell(request, scope, receive, send)
                return
            if path == "state.json":
                response = Response(self.state.since(0)[1], headers=HEADERS, media_type="application/json")
            else:
                name, kind = ASSETS[path]
                response = Response(_asset(name), headers=HEADERS, media_type=kind)
        except Refusal as refusal:
            response = PlainTextResponse(f"{refusal.message}\n", refusal.status, HEADERS)
        await response(scope, receive, send)

    def _path(self, request: Request) -> str:
        """Return the path below the secret part of the address.

        Raises:
            Refusal: the request is not a GET of this page by its own address, or does not know the secret.
        """
        # a name that was made to point here (DNS rebinding) is another Host
        if request.headers.get("host") not in (f"127.0.0.1:{self._port}", f"localhost:{self._port}"):
            raise Refusal(421, "wrong_host", "this page is served as 127.0.0.1 and localhost only")
        if request.headers.get("sec-fetch-site", "none") not in SITES:
            raise Refusal(403, "other_origin", "pages of other sites may not use this page")
        given, _, path = request.scope["path"].removeprefix("/").partition("/")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise Refusal(404, "not_found", "there is no page here; the address that the command printed has a secret")
        if request.method != "GET":
            raise Refusal(405, "wrong_method", "only GET is allowed here")
        if path not in (*ASSETS, "events", "state.json"):
            raise Refusal(404, "not_found", "there is no such page")
        return str(path)

    async def _tell(self, request: Request, scope: Any, receive: Any, send: Any) -> None:
        seen = request.headers.get("last-event-id", "")
        version = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0
        self._looking += 1
        try:
            response = StreamingResponse(self._events(version), headers=HEADERS, media_type="text/event-stream")
            await response(scope, receive, send)
        finally:
            self._looking -= 1

    async def _events(self, version: int) -> AsyncGenerator[bytes, None]:
        """Yield the changes since a version of the state as server-sent events, until the run ends."""
        yield b"retry: 1000\n\n"
        quiet = 0.0
        while True:
            last = self._ending.is_set() or self.state.ended
            if last:
                # the page closes the stream at the end, so thumbnails come with it or not at all
                await self._last_pictures()
            version, text = self.state.since(version)
            if text is not None:
                # JSON is one line, and U+2028 ends no line of an event stream
                yield f"id: {version}\ndata: {text}\n\n".encode()
                quiet = 0.0
            elif quiet >= QUIET:
                yield b": still here\n\n"
                quiet = 0.0
            if last:
                return
            await self._pause(PACE)
            quiet += PACE

    async def _make_thumbnails(self) -> None:
        """Make thumbnails of the latest pictures, one at a time, while somebody looks."""
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            picture = self.state.without_thumbnail() if self._looking else None
            if picture is None or picture.ref is None:
                await self._pause(PACE)
                continue
            started = loop.time()
            small = await loop.run_in_executor(self._decoder, _thumbnail_or_none, picture.ref, self.state.limits)
            self.state.illustrate(picture, small)
            if not self.state.ended:
                # thumbnails take a run a fifth of one core at most
                await self._pause(min(1.0, RESTING * (loop.time() - started)))

    async def _last_pictures(self) -> None:
        """Wait until every picture has its thumbnail, if somebody looks, for a bounded time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_PICTURES
        while self._looking and not self._ending.is_set() and loop.time() < deadline:
            if self.state.without_thumbnail() is None:
                return
            await asyncio.sleep(0.01)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)


class _Server(uvicorn.Server):
    """Leaves signals to the program that awaits the run."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _thumbnail_or_none(ref: ImageRef, limits: ImageSettings) -> str | None:
    try:
        return thumbnail(ref, limits)
    except Exception:
        # the file was there when CLIP read it; whatever has become of it costs a thumbnail and nothing else
        return None


@cache
def _asset(name: str) -> bytes:
    return (files("ants_engine.report") / "assets" / name).read_bytes()
