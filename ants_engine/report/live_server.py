"""Serves the page of a run on loopback, from the run's own event loop, without ever making it wait.

A server of our own, on asyncio and h11: it answers GET for half a dozen paths, and it begins and ends with the run, in
the loop and under the signal handlers of whoever awaits the run.
"""

import asyncio
import contextlib
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files

import h11

from ants_engine.clip.image_ref import ImageRef
from ants_engine.errors import UsageError
from ants_engine.report.live_request import PageRequest, RefusedError, judge, read_request
from ants_engine.report.live_state import LiveState
from ants_engine.report.thumbnails import thumbnail
from ants_engine.settings.config import ImageSettings

HOST = "127.0.0.1"
READERS = 32
"""Connections at the same time; more are refused."""
PATIENCE = 5.0
"""Seconds for a request to come in whole, and for a reader to take what it is sent; then it is dropped."""
PACE = 0.5
"""Seconds between two events to one reader: whatever has changed meanwhile is one event."""
QUIET = 10.0
"""Seconds after which a reader is sent a comment, so that one that has gone is noticed."""
FAREWELL = 1.0
"""Seconds that readers have, all together, to be told of the end."""
LAST_PICTURES = 5.0
"""Seconds at most by which the thumbnails that are missing at the end hold it up, if somebody looks."""
RESTING = 4
"""So many times as long as a thumbnail took, none is made."""
BUFFER = 65536
"""Bytes that the system holds for a reader who is slow to read."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
COMMON = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", POLICY),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Connection", "close"),
)
ASSETS = {
    "": ("live.html", "text/html; charset=utf-8"),
    "live.js": ("live.js", "text/javascript; charset=utf-8"),
    "live.css": ("live.css", "text/css; charset=utf-8"),
    "report.css": ("report.css", "text/css; charset=utf-8"),
}


class LiveServer:
    """Hands a `LiveState` to browsers. `start` and `stop` it in one event loop.

    A reader has no queue: it is sent what has changed since it was last sent something, and nothing before it has taken
    that. So a slow one gets fewer events, and one that takes nothing is dropped.
    """

    def __init__(self, state: LiveState) -> None:
        """Prepare; nothing is opened yet."""
        self._state = state
        self._token = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._ending = asyncio.Event()
        self._looking = 0
        self._painter: asyncio.Task[None] | None = None
        self._readers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        # those who have asked for nothing yet, such as a browser's spare connections
        self._silent: set[asyncio.StreamWriter] = set()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="ants-live")

    @property
    def url(self) -> str:
        """The page's address, with its secret part."""
        return f"http://{HOST}:{self._port}/{self._token}/"

    async def start(self, port: int = 0) -> None:
        """Listen.

        Args:
            port: of the loopback; 0 takes a free one.

        Raises:
            UsageError: the port cannot be used.
        """
        try:
            self._server = await asyncio.start_server(self._connected, HOST, port, limit=BUFFER)
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(
                f"port {port} of {HOST} cannot be used ({why}); name another, or 0 for a free one"
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]
        self._painter = asyncio.create_task(self._illustrate(), name="ants-live")

    async def stop(self) -> None:
        """Let readers take what there is, for a moment, and close. May be called twice."""
        await self._last_pictures()
        self._ending.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in tuple(self._silent):
            writer.transport.abort()
        if self._readers:
            await asyncio.wait(self._readers, timeout=FAREWELL)
        for writer in self._readers.values():
            writer.transport.abort()
        for task in tuple(self._readers):
            task.cancel()
        if self._readers:
            await asyncio.wait(self._readers)
        if server is not None:
            await server.wait_closed()
        painter, self._painter = self._painter, None
        if painter is not None:
            # what it was at may raise; a thumbnail is nothing to end with
            painter.cancel()
            await asyncio.wait([painter])
        self._decoder.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._readers) >= READERS or self._ending.is_set():
            writer.transport.abort()
            return
        self._readers[task] = writer
        try:
            await self._answer(reader, writer)
        except (ConnectionError, TimeoutError, h11.LocalProtocolError):
            # a reader that went away, or was too slow
            writer.transport.abort()
        except asyncio.CancelledError:
            # `stop` has dropped it; anyone else who cancels wants it to end
            writer.transport.abort()
            if not self._ending.is_set():
                raise
        finally:
            writer.close()
            self._readers.pop(task, None)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        # what is not with the system yet is waited for, so that no reader's backlog grows here
        writer.transport.set_write_buffer_limits(high=0)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=8192)
        answer = _Answer(connection, writer)
        try:
            request = judge(await self._request(connection, reader, writer), self._port, self._token)
            await self._serve(request, answer)
        except RefusedError as refusal:
            await answer.whole(refusal.status, "text/plain; charset=utf-8", f"{refusal.words}\n".encode())
        except h11.RemoteProtocolError as error:
            await answer.whole(error.error_status_hint, "text/plain; charset=utf-8", b"that is no request\n")

    async def _request(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> h11.Request:
        self._silent.add(writer)
        try:
            async with asyncio.timeout(PATIENCE):
                return await read_request(connection, reader)
        finally:
            self._silent.discard(writer)

    async def _serve(self, request: PageRequest, answer: "_Answer") -> None:
        if request.path in ASSETS:
            name, kind = ASSETS[request.path]
            await answer.whole(200, kind, _asset(name))
        elif request.path == "events":
            await self._tell(answer, request.seen)
        elif request.path == "state.json":
            _, text = self._state.since(0)
            await answer.whole(200, "application/json", (text or "{}").encode())
        else:
            raise RefusedError(404, "there is no such page")

    async def _tell(self, answer: "_Answer", seen: int) -> None:
        """Send events until the run, or the reader, ends."""
        self._looking += 1
        try:
            await self._events(answer, seen)
        finally:
            self._looking -= 1

    async def _events(self, answer: "_Answer", seen: int) -> None:
        await answer.begin("text/event-stream")
        await answer.more(b"retry: 1000\n\n")
        quiet = 0.0
        while True:
            last = self._ending.is_set() or self._state.ended
            if last:
                # the page closes the stream at the end, so thumbnails come with it or not at all
                await self._last_pictures()
            seen, text = self._state.since(seen)
            if text is not None:
                # JSON has no line end of its own, and U+2028 is none to an event stream
                await answer.more(f"id: {seen}\ndata: {text}\n\n".encode())
                quiet = 0.0
            elif quiet >= QUIET:
                await answer.more(b": still here\n\n")
                quiet = 0.0
            if last:
                await answer.finish()
                return
            await self._pause()
            quiet += PACE

    async def _illustrate(self) -> None:
        """Make thumbnails of the latest pictures, one at a time, while somebody looks."""
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            picture = self._state.without_thumbnail() if self._looking else None
            if picture is None or picture.ref is None:
                await self._pause()
                continue
            started = loop.time()
            small = await loop.run_in_executor(self._decoder, _small, picture.ref, self._state.limits)
            self._state.illustrate(picture, small)
            if not self._state.ended:
                # a page that is looked at takes a run a fifth of one core at most for its pictures
                await self._pause(min(1.0, RESTING * (loop.time() - started)))

    async def _last_pictures(self) -> None:
        """Wait until every picture has its thumbnail, if somebody looks, for a bounded time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LAST_PICTURES
        while self._looking and not self._ending.is_set() and loop.time() < deadline:
            if self._state.without_thumbnail() is None:
                return
            await asyncio.sleep(0.01)

    async def _pause(self, seconds: float = PACE) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)


class _Answer:
    """What is sent to one reader."""

    def __init__(self, connection: h11.Connection, writer: asyncio.StreamWriter) -> None:
        self._connection = connection
        self._writer = writer

    async def whole(self, status: int, kind: str, body: bytes) -> None:
        """Send all of it."""
        await self.begin(kind, status, ("Content-Length", str(len(body))))
        await self.more(body)
        await self.finish()

    async def begin(self, kind: str, status: int = 200, *more: tuple[str, str]) -> None:
        """Send the head."""
        headers = [*COMMON, ("Content-Type", kind), *more]
        await self._send(h11.Response(status_code=status, headers=headers))

    async def more(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """Send the end."""
        await self._send(h11.EndOfMessage())

    async def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        self._writer.write(self._connection.send(event) or b"")
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()


def _small(ref: ImageRef, limits: ImageSettings) -> str | None:
    try:
        return thumbnail(ref, limits)
    except Exception:
        # the file was there when CLIP read it; whatever has become of it costs a thumbnail and nothing else
        return None


@cache
def _asset(name: str) -> bytes:
    return (files("ants_engine.report") / "assets" / name).read_bytes()
