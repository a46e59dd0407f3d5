"""uvicorn's HTTP protocol with limits for time, connections and framing that it lacks."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ants_engine.serve.options import Refusal

FREE_CHUNKS = 1000
"""First chunks of a body, which may be of any size."""
SMALLEST_CHUNK = 32
"""Mean bytes that the chunks after those need: a tiny chunk costs as much work as a large one."""

HEAD_TOO_LONG = "the request's line and headers are too long"


class StrictConnection(h11.Connection):
    """h11 that refuses ambiguous framing (request smuggling), oversized heads, and bodies in tiny chunks."""

    status, problem = 400, "the request is not valid HTTP"
    """The answer to a request that ends the connection."""

    def __init__(self, largest_head: int) -> None:
        """Begin as a server; ``largest_head`` is in bytes."""
        super().__init__(h11.SERVER, largest_head)
        self._largest_head = largest_head
        self._chunks = 0
        self._bytes = 0

    def next_event(self) -> Any:
        """See `h11.Connection`."""
        in_head = self.their_state is h11.IDLE
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            if in_head and error.error_status_hint == 431:
                raise self._refused(HEAD_TOO_LONG, 431) from None
            raise
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            # h11 has a limit for heads that come in pieces only
            if len(event.target) + sum(len(name) + len(value) for name, value in event.headers) > self._largest_head:
                raise self._refused(HEAD_TOO_LONG, 431)
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version < b"1.1"):
                raise self._refused("Transfer-Encoding is not accepted together with Content-Length, nor in HTTP/1.0")
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._bytes // SMALLEST_CHUNK:
                raise self._refused(f"the body's chunks are too small; send {SMALLEST_CHUNK} bytes or more in each")
        return event

    def _refused(self, problem: str, status: int = 400) -> h11.RemoteProtocolError:
        self.status, self.problem = status, problem
        return h11.RemoteProtocolError(problem)


def timed_protocol(header_timeout: float, most: int) -> type[H11Protocol]:
    """Return a protocol class for `uvicorn.Config`.

    Args:
        header_timeout: seconds for a request's line and headers, for the rest of a refused upload, and for a client to
            read an answer.
        most: connections; one more replaces the connection that has kept the server waiting longest.
    """

    class TimedProtocol(H11Protocol):
        """Ends connections that keep the server waiting while no request with limits of its own runs."""

        _timer: asyncio.TimerHandle | None = None
        _heard = 0.0
        """The loop's time of the client's last activity."""

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            self._strict = StrictConnection(self.config.h11_max_incomplete_event_size or 1 << 14)
            self.conn = self._strict
            # an address may hold a secret
            self.access_log = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._heard = self.loop.time()
            if len(self.connections) > most and not self._finds_room():
                transport.abort()
                return
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._heard = self.loop.time()
            super().data_received(data)
            if self._in_request():
                self._disarm()
            else:
                # a head in many small pieces, or the rest of a refused upload
                self._arm()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
                # an answer has begun or was sent
                self.transport.close()
                return
            body = json.dumps(Refusal(self._strict.status, "malformed", self._strict.problem).body).encode()
            kind, length = ("content-type", "application/json"), ("content-length", str(len(body)))
            headers = [kind, length, ("connection", "close")]
            start = h11.Response(status_code=self._strict.status, headers=headers)
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._in_request():
                self._disarm()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._arm()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._heard = self.loop.time()
            if self._in_request():
                self._disarm()

        def _in_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _waits_for_client(self) -> bool:
            return not self._in_request() or self.cycle.more_body or self.flow.write_paused

        def _finds_room(self) -> bool:
            """End the connection that has kept the server waiting longest, if there is one."""
            others = [
                other
                for other in self.connections
                if isinstance(other, TimedProtocol) and other is not self and other._waits_for_client()
            ]
            longest = min(others, key=lambda other: other._heard, default=None)
            if longest is None:
                return False
            self.connections.discard(longest)
            longest.transport.abort()
            return True

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(header_timeout, self._late)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            if self.flow.write_paused or not self._in_request():
                self.transport.abort()

    return TimedProtocol
