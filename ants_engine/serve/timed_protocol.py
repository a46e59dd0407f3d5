"""uvicorn's HTTP protocol with the time limits that it has not got."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def timed_protocol(header_timeout: float, most: int) -> type[H11Protocol]:
    """Return a protocol class for `uvicorn.Config`.

    Args:
        header_timeout: seconds in which a request's line and headers have to come, what follows a refused upload has to
            end, and a client has to take an answer off.
        most: connections; what is beyond is closed at once.
    """

    class TimedProtocol(H11Protocol):
        """Ends a connection that keeps the server waiting where no request runs that has limits of its own."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
                return
            self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_request():
                self._disarm()
            else:
                # a head that comes drop by drop, or the rest of an upload that was refused
                self._arm()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._in_request():
                self._disarm()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._arm()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._in_request():
                self._disarm()

        def _in_request(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

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
