"""The ASGI application: routes, pages and errors behind the guard."""

from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from ants_engine.common.versions import installed_versions
from ants_engine.serve.guard import Guard
from ants_engine.serve.pages import add_pages
from ants_engine.serve.refusal import Refusal
from ants_engine.serve.routes import add_routes, body_schemas
from ants_engine.serve.service import GoneError, Service

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
