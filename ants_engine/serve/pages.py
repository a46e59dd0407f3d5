"""The pages for people: one to drop pictures on, one that shows the API. Neither loads anything from elsewhere."""

import secrets
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources

from fastapi import FastAPI
from fastapi.responses import HTMLResponse


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
