"""The ASGI application: routes, pages and errors behind a guard."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from ants_engine.common.versions import installed_versions
from ants_engine.serve.access import Access
from ants_engine.serve.answers import (
    DetectorAnswer,
    ErrorAnswer,
    ExplainAnswer,
    ScoreAnswer,
    State,
    StreamAnswer,
    StreamsAnswer,
    StreamScoreAnswer,
)
from ants_engine.serve.inputs import BODIES
from ants_engine.serve.metrics import ServerMetrics
from ants_engine.serve.options import Refusal
from ants_engine.serve.service import GoneError, Service
from ants_engine.serve.streams import NAME

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

    def __init__(self, app: App, access: Access, metrics: ServerMetrics, stopping: Callable[[], bool]) -> None:
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


def add_pages(app: FastAPI) -> None:
    """Add ``/`` and ``/docs``."""
    for path, name in (("/", "score"), ("/docs", "api")):
        app.add_api_route(path, _page(name), include_in_schema=False, response_class=HTMLResponse, methods=["GET"])


def _page(name: str) -> Callable[[], Awaitable[HTMLResponse]]:
    async def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(_text(name).replace("NONCE", nonce), headers={"Content-Security-Policy": policy})

    return page


@cache
def _text(name: str) -> str:
    """Put a page together from its files; nothing of it depends on a request."""
    folder = resources.files(__package__) / "page"
    read = {kind: (folder / f"{file}.{kind}").read_text("utf-8") for kind, file in _files(name)}
    return read["html"].replace("/* STYLE */", read["css"]).replace("/* SCRIPT */", read["js"])


def _files(name: str) -> tuple[tuple[str, str], ...]:
    return ("html", name), ("css", "page"), ("js", name)


_SAID = {
    400: "The request or its body is malformed.",
    401: "The token is missing or wrong.",
    403: "A page of another site has sent this.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "Not as things stand; the message says what to do.",
    413: "Too many bytes or pictures.",
    415: "A body of another kind.",
    421: "The Host header names another server.",
    422: "The request is not as described.",
    429: "More is waiting than the server takes; Retry-After says when to try again.",
    503: "The server is stopping, or it took too long.",
}
_ALWAYS = (400, 401, 403, 421)
_BODY = (408, 413, 415, 422, 429, 503)
_SCHEMAS = "#/components/schemas/"


def add_routes(routes: FastAPI, service: Service) -> None:
    """Add all routes but the pages', the busiest first: a router of their own would be one more to search."""

    @routes.post(
        "/v1/score", tags=["scoring"], response_model=ScoreAnswer, responses=_errors(*_BODY), openapi_extra=_bodies()
    )
    async def score(request: Request) -> Response:
        """Score pictures, or CLIP features. Frozen: the same picture gets the same answer tomorrow.

        Each item has its own score or its own error, in the order sent; one bad picture never fails the others.
        """
        return _json(await service.score(request))

    @routes.post(
        "/v1/explain",
        tags=["scoring"],
        response_model=ExplainAnswer,
        responses=_errors(*_BODY),
        openapi_extra=_bodies(),
    )
    async def explain(
        request: Request, top: Annotated[int, Query(ge=1, le=50, description="Texts per kind.")] = 3
    ) -> Response:
        """Score items, and say which classes and negative texts are nearest and where each text came from."""
        return _json(await service.explain(request, top))

    @routes.get("/v1/detector", tags=["server"], responses=_errors())
    async def detector() -> DetectorAnswer:
        """Say which detector answers, and what a request may hold."""
        return service.describe()

    @routes.get("/healthz", tags=["server"], responses=_errors())
    async def healthz() -> State:
        """Say whether the process lives."""
        return State(status="ok")

    @routes.get(
        "/readyz",
        tags=["server"],
        responses={**_errors(), 503: {"model": State, "description": "Not yet, or not any more."}},
    )
    async def readyz() -> Response:
        """Say whether requests are wanted: not while it stops."""
        if service.stopping or not service.started:
            return JSONResponse({"status": "stopping" if service.stopping else "starting"}, 503)
        return JSONResponse({"status": "ok"})

    @routes.get(
        "/metrics",
        tags=["server"],
        response_class=Response,
        responses={**_errors(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Give Prometheus its numbers."""
        return Response(service.metrics.page(), media_type=service.metrics.content_type)

    if service.options.streams:
        _add_streams(routes, service)


def _add_streams(routes: FastAPI, service: Service) -> None:
    name_of = Annotated[str, Path(pattern=NAME, description="The stream's name: a to z, 0 to 9, - and _.")]

    @routes.get("/v1/streams", tags=["streams"], responses=_errors())
    async def streams() -> StreamsAnswer:
        """List the open streams."""
        return StreamsAnswer(streams=service.list_streams(), most=service.options.streams)

    @routes.post("/v1/streams/{name}/score", tags=["streams"], responses=_errors(409, *_BODY), openapi_extra=_bodies())
    async def score_stream(request: Request, name: name_of) -> StreamScoreAnswer:
        """Score one batch and adapt to it; the first one opens the stream. Waits for the MLLM where it has to.

        A batch counts once it has had its turn, whether or not the client still waits for the answer.
        """
        return await service.score_stream(request, name)

    @routes.get("/v1/streams/{name}", tags=["streams"], responses=_errors(404, 422))
    async def stream(name: name_of) -> StreamAnswer:
        """Describe an open stream."""
        return service.find_stream(name)

    @routes.post("/v1/streams/{name}/save", tags=["streams"], responses=_errors(404, 409, 422, 503))
    async def save_stream(name: name_of) -> StreamAnswer:
        """Write what a stream has learned to the server's folder of streams."""
        return await service.save_stream(name)

    @routes.delete("/v1/streams/{name}", tags=["streams"], responses=_errors(404, 422), status_code=204)
    async def delete_stream(name: name_of) -> None:
        """End a stream and forget what it has learned since it was last saved."""
        await service.delete_stream(name)


def _json(answer: BaseModel) -> Response:
    """Write an answer of ours; FastAPI would check it once more before."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": _SAID[status]} for status in (*_ALWAYS, *statuses)}


def _bodies() -> dict[str, Any]:
    files = {
        "type": "object",
        "required": ["pictures"],
        "properties": {
            "pictures": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "format": "binary"},
                "description": "Picture files, each a part of this name.",
            }
        },
        "additionalProperties": False,
    }
    forms = {"anyOf": [{"$ref": _SCHEMAS + body.__name__} for body in BODIES]}
    content = {"multipart/form-data": {"schema": files}, "application/json": {"schema": forms}}
    return {"requestBody": {"required": True, "content": content}}


def body_schemas() -> dict[str, Any]:
    """Return what `_bodies` refers to, by name."""
    schemas: dict[str, Any] = {}
    for body in BODIES:
        schema = body.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    return schemas


ABOUT = """Zero-shot out-of-distribution detection: is a picture of one of the known classes, or of something else?

Send pictures as files (multipart/form-data) or in base64 (application/json), many at once."""


def build_app(service: Service) -> Guard:
    """Put the application together; its lifespan starts and ends the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.aclose()

    version = installed_versions(("ants-engine",))["ants-engine"] or "0"
    # FastAPI's own pages load scripts from a CDN
    app = FastAPI(
        title="ants-engine", description=ABOUT, version=version, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    add_routes(app, service)
    add_pages(app)
    _describe_bodies(app, wants_token=service.access.wants_token)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        service.metrics.refused(refusal.kind)
        return JSONResponse(refusal.body, refusal.status, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()[:3])
        return JSONResponse(Refusal(422, "unfit", said).body, 422)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        kind = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # each method is a route of its own, and Starlette names those of the first
            headers["Allow"] = ", ".join(_methods(app.routes, request.scope))
        return JSONResponse(Refusal(error.status_code, kind, str(error.detail)).body, error.status_code, headers)

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        service.metrics.refused("gone")
        # nobody reads it
        return Response(status_code=499)

    return Guard(app, service.access, service.metrics, lambda: service.stopping)


def _methods(routes: Sequence[BaseRoute], scope: MutableMapping[str, Any]) -> list[str]:
    found: set[str] = set()
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _describe_bodies(app: FastAPI, *, wants_token: bool) -> None:
    """Add what FastAPI cannot find out by itself to the OpenAPI document: bodies, and the token."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            parts = document.setdefault("components", {})
            parts.setdefault("schemas", {}).update(body_schemas())
            if wants_token:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
                for open_path in ("/healthz", "/readyz"):
                    document["paths"][open_path]["get"]["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
