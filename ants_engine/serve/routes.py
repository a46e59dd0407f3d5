"""The API's routes, as FastAPI and OpenAPI see them."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

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
from ants_engine.serve.named_streams import NAME
from ants_engine.serve.service import Service

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
