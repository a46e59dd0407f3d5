"""Reports, and a browser to open them in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.reports import bare_report, hostile_report, large_report, small_report, taught_report
from tests.support.browser import browser
from tests.support.process import WAIT

__all__ = ["bare_report", "browser", "hostile_report", "large_report", "open_page", "small_report", "taught_report"]

Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open a file; when the test ends, the console has to be empty and nothing may have been loaded."""
    contexts: list[Any] = []
    said: list[str] = []
    loaded: list[str] = []

    def open_(path: Path, width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT * 1000)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == [], "the console stays empty"
    elsewhere = [url for url in loaded if not url.startswith(("file:", "data:", "blob:"))]
    assert elsewhere == [], "the page loads nothing"
    files = [url for url in loaded if url.startswith("file:")]
    assert len(files) <= len(contexts), "the page is one file"
