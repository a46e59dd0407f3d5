"""Around the application: who may come in, what every answer carries, and what is counted."""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers

from ants_engine.serve.access import Access
from ants_engine.serve.metrics import Metrics
from ants_engine.serve.refusal import Refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
"""They tell nothing of the detector, and a page has to come before a token can be typed into it."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Guard:
    """ASGI middleware: the outermost layer."""

    def __init__(self, app: App, access: Access, metrics: Metrics, stopping: Callable[[], bool]) -> None:
        """Wrap ``app``.

        Args:
            app: what is guarded.
            access: who may come in.
            metrics: told of every request.
            stopping: whether the server is about to stop, so that connections should not be used again.
        """
        self._app = app
        self._access = access
        self._metrics = metrics
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._own_headers(message["headers"])]
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            self._metrics.refused(refusal.kind)
            await _answer(refusal, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._access.check_place(headers.get("host"), headers.get("origin"))
        if scope["path"] not in OPEN_PATHS:
            self._access.check_token(headers.get("authorization"))

    def _own_headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = list(HEADERS)
        if not any(name == NO_CONTENT_POLICY[0] for name, _ in given):
            own.append(NO_CONTENT_POLICY)
        if self._stopping():
            own.append((b"connection", b"close"))
        return own


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps(refusal.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
