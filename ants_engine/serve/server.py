"""Runs the server with uvicorn, and shuts it down without losing accepted requests."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from ants_engine.ants import ANTS
from ants_engine.serve.app import build_app
from ants_engine.serve.options import ServeOptions
from ants_engine.serve.service import Service
from ants_engine.serve.timed_protocol import timed_protocol

LINGER = 0.5
"""Seconds after the listening socket is closed in which requests in transit are still answered."""


def serve(ants: ANTS, bound: socket.socket, options: ServeOptions, on_ready: Callable[[str], None]) -> list[str]:
    """Serve until a signal; return the errors of the shutdown, such as streams that could not be saved.

    Args:
        ants: the detector.
        bound: from `ants_engine.serve.access.listen`.
        options: of the server.
        on_ready: called with the address once requests are accepted.

    Raises:
        UsageError: CLIP, or the MLLM of streams, cannot be used.
    """
    service = Service(ants, options)
    config = uvicorn.Config(
        build_app(service),
        http=timed_protocol(options.header_timeout, options.max_connections),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=options.idle_timeout,
        timeout_graceful_shutdown=options.grace,
        backlog=1024,
    )
    # the command reports itself what uvicorn logs at INFO
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    host, port = bound.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _Server(config, service, lambda: on_ready(address)).run([bound])
    return service.problems


class _Server(uvicorn.Server):
    """Shuts down in order: readiness first, then the listening socket, then accepted requests are answered."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.stopping = True
        for server in self.servers:
            server.close()
        # a request may be in transit on an open connection; its answer says "Connection: close"
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals; uvicorn would raise them again at the end, which would change the exit code."""
        before = {number: signal.signal(number, self._signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signal(self, number: int, frame: FrameType | None) -> None:
        # a second signal ends it at once
        self.force_exit = self.should_exit
        self.should_exit = True
