"""The ASGI application: routes, pages and errors behind a guard."""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ants_engine.common.versions import installed_versions
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
from ants_engine.serve.options import Refusal
from ants_engine.serve.service import GoneError, Service
from ants_engine.serve.streams import NAME

OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz"})
"""Paths without a token: they say nothing about the detector, and a page has to load before a token can be typed in."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
NO_CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Guard:
    """ASGI middleware, the outermost layer: checks who asks, adds security headers and counts requests."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Wrap ``app``, which answers with ``service``."""
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
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

        app = self._app
        try:
            self._check(scope)
        except Refusal as refusal:
            app = _refused(self._service, refusal)
        try:
            await app(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.request(route, status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._service.access.check_place(headers.get("host"), headers.get("origin"))
        if scope["path"] not in OPEN_PATHS:
            self._service.access.check_token(headers.get("authorization"))

    def _own_headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        own = list(HEADERS)
        if not any(name == NO_CONTENT_POLICY[0] for name, _ in given):
            own.append(NO_CONTENT_POLICY)
        if self._service.stopping:
            own.append((b"connection", b"close"))
        return own


def _refused(service: Service, refusal: Refusal) -> Response:
    service.metrics.refused(refusal.kind)
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


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
    """Assemble a page from its files; nothing in it depends on a request."""
    folder = resources.files(__package__) / "page"
    page, style, script = ((folder / file).read_text("utf-8") for file in (f"{name}.html", "page.css", f"{name}.js"))
    return page.replace("/* STYLE */", style).replace("/* SCRIPT */", script)


_DESCRIPTIONS = {
    400: "The request or its body is malformed.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is no such resource.",
    408: "The body did not arrive in time.",
    409: "The current state does not allow it; the message says what to do.",
    413: "Too many bytes or pictures.",
    415: "The body has another content type.",
    421: "The Host header names another server.",
    422: "The request is not as described.",
    429: "The queue is full; Retry-After says when to try again.",
    503: "The server is stopping, or it took too long.",
}
_ALWAYS = (400, 401, 403, 421)
_BODY = (408, 413, 415, 422, 429, 503)
_SCHEMAS = "#/components/schemas/"


def _add_routes(routes: FastAPI, service: Service) -> None:
    """Add all routes but the pages', the busiest first, since they are searched in order."""

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
        return StreamsAnswer(streams=[one.describe() for one in service.streams.all()], most=service.options.streams)

    @routes.post("/v1/streams/{name}/score", tags=["streams"], responses=_errors(409, *_BODY), openapi_extra=_bodies())
    async def score_stream(request: Request, name: name_of) -> StreamScoreAnswer:
        """Score one batch and adapt to it; the first one opens the stream. Waits for the MLLM where it has to.

        A batch counts once it has had its turn, whether or not the client still waits for the answer.
        """
        return await service.score_stream(request, name)

    @routes.get("/v1/streams/{name}", tags=["streams"], responses=_errors(404, 422))
    async def stream(name: name_of) -> StreamAnswer:
        """Describe an open stream."""
        return service.streams.find(name).describe()

    @routes.post("/v1/streams/{name}/save", tags=["streams"], responses=_errors(404, 409, 422, 503))
    async def save_stream(name: name_of) -> StreamAnswer:
        """Write what a stream has learned to the server's folder of streams."""
        return await service.save_stream(name)

    @routes.delete("/v1/streams/{name}", tags=["streams"], responses=_errors(404, 422), status_code=204)
    async def delete_stream(name: name_of) -> None:
        """End a stream and forget what it has learned since it was last saved."""
        await service.streams.close(name)


def _json(answer: BaseModel) -> Response:
    """Return an answer without FastAPI's second validation."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": _DESCRIPTIONS[status]} for status in (*_ALWAYS, *statuses)}


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


def _body_schemas() -> dict[str, Any]:
    """Return the schemas that `_bodies` refers to, by name."""
    schemas: dict[str, Any] = {}
    for body in BODIES:
        schema = body.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
    return schemas


ABOUT = """Zero-shot out-of-distribution detection: is a picture of one of the known classes, or of something else?

Send pictures as files (multipart/form-data) or in base64 (application/json), many at once."""


def build_app(service: Service) -> Guard:
    """Build the application; its lifespan starts and ends the service."""

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
    _add_routes(app, service)
    for path, name in (("/", "score"), ("/docs", "api")):
        app.add_api_route(path, _page(name), include_in_schema=False, response_class=HTMLResponse, methods=["GET"])
    _describe_bodies(app, wants_token=service.access.wants_token)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return _refused(service, refusal)

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
            matching = [route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE]
            headers["Allow"] = ", ".join(
                sorted({one for route in matching for one in getattr(route, "methods", None) or ()})
            )
        return JSONResponse(Refusal(error.status_code, kind, str(error.detail)).body, error.status_code, headers)

    @app.exception_handler(GoneError)
    async def gone(_: Request, __: GoneError) -> Response:
        # nobody reads the answer
        service.metrics.refused("gone")
        return Response(status_code=499)

    return Guard(app, service)


def _describe_bodies(app: FastAPI, *, wants_token: bool) -> None:
    """Add to the OpenAPI document what FastAPI cannot know: bodies, and the token."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            parts = document.setdefault("components", {})
            parts.setdefault("schemas", {}).update(_body_schemas())
            if wants_token:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"token": []}]
                for open_path in ("/healthz", "/readyz"):
                    document["paths"][open_path]["get"]["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
