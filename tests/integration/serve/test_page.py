"""The server's pages in Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve.conftest import MARKUP, PICTURES, TOKEN
from tests.support.browser import serious
from tests.support.served import Served


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A phone's page; whatever the console says, and every load from elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 375, "height": 740})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None
            if "127.0.0.1" in request.url or request.url.startswith(("data:", "blob:"))
            else said.append(request.url)
        ),
    )
    page.said = said
    yield page
    context.close()


def verdicts(server: Served, *pictures: Path) -> list[str]:
    with server.client() as client:
        sent = [("pictures", (path.name, path.read_bytes())) for path in pictures]
        return [one["score"]["verdict"] for one in client.post("/v1/score", files=sent).json()["results"]]


def test_pictures_are_chosen_and_explained(page: Any, server: Served) -> None:
    page.goto(server.url)
    page.get_by_text("The known classes").click()
    assert MARKUP in page.locator("#classes li").all_inner_texts()
    bad = {"name": "<b>bad</b>.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}
    chosen = [PICTURES / "emoji_world/panda/05.jpg", PICTURES / "far/santa_claus/05.jpg"]
    wanted = verdicts(server, *chosen)
    unknown = wanted.count("unknown")
    # the keyboard reaches the chooser first
    page.keyboard.press("Tab")
    page.set_input_files("#files", chosen)
    page.get_by_text(f"2 pictures, {unknown} unknown").wait_for()
    page.set_input_files("#files", [bad])
    page.get_by_text(f"3 pictures, {unknown} unknown").wait_for()
    cards = page.locator("article")
    # the newest is on top
    assert cards.locator(".badge").all_inner_texts() == ["not scored", *reversed(wanted)]
    assert cards.locator(".name").all_inner_texts() == ["<b>bad</b>.jpg", "05.jpg", "05.jpg"]
    assert "panda" in cards.nth(2).locator(".nearest").inner_text()
    assert page.locator("article canvas").count() == 2
    cards.nth(1).locator("summary").focus()
    page.keyboard.press("Enter")
    assert "what the MLLM said of" in cards.nth(1).locator(".negatives").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page) == []
    assert page.said == []


def test_dropped_pictures_are_scored(page: Any, server: Served) -> None:
    page.goto(server.url)
    page.get_by_text("Up to 32 MB").wait_for()
    data = list((PICTURES / "far/santa_claus/05.jpg").read_bytes())
    page.evaluate(
        """(data) => {
            const moved = new DataTransfer();
            moved.items.add(new File([new Uint8Array(data)], "dropped.jpg", { type: "image/jpeg" }));
            document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""",
        data,
    )
    page.get_by_text("1 picture, ").wait_for()
    assert page.said == []


def test_the_page_asks_for_the_token(page: Any, strict: Served) -> None:
    page.goto(strict.url)
    page.get_by_label("This server requires a token").wait_for()
    assert serious(page) == []
    # the browser notes the refusal, and nothing else
    assert all("401" in line for line in page.said)
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("That is not the token.").wait_for()
    page.get_by_label("This server requires a token").fill(TOKEN)
    page.get_by_role("button", name="Use it").click()
    page.get_by_text("knows 6 classes").wait_for()
    page.set_input_files("#files", [PICTURES / "far/santa_claus/05.jpg"])
    page.get_by_text("1 picture, ").wait_for()
    assert TOKEN not in page.content()
    assert all("401" in line for line in page.said)


def test_the_api_page_shows_every_route(page: Any, server: Served) -> None:
    page.goto(f"{server.url}/docs")
    page.get_by_text("POST /v1/streams/{name}/score").wait_for()
    with server.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    shown = page.locator("h2").all_inner_texts()
    assert shown == [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert serious(page) == []
    assert page.said == []
