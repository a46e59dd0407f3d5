import json
import os
import re
from html.parser import HTMLParser

import pytest

from ants_engine.report.document import Document, Fact
from ants_engine.report.page import render_page
from tests.support.report_world import HOSTILE


class Blocks(HTMLParser):
    """Collects what a browser would take for scripts, and every address that it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[list[str]] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append([])
        for name, value in attrs:
            if name in ("src", "href", "action", "data") and value and not value.startswith(("#", "data:")):
                self.addresses.append(value)
            if name.startswith("on") or name == "style":
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1].append(data)


def document(text: str) -> Document:
    return Document(
        title=text,
        made="2026-01-01T00:00:00+00:00",
        threshold=0.5,
        weight=0.25,
        headline=(Fact(name=text, value=text, note=text),),
        classes=(text,),
        notes=(text,),
        facts=(Fact(name=text, value=text),),
        missing={"pictures": text, "batches": text, "requests": text},
    )


def test_a_name_that_is_not_utf8_is_spelled() -> None:
    page = render_page(document(os.fsdecode(b"caf\xe9"))).encode()
    assert rb"caf\udce9" in page


def test_what_is_unknown_is_called_so() -> None:
    page = render_page(document("x"))
    words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert "foreign" not in words.lower()


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_breaks_out_of_its_place(text: str) -> None:
    page = render_page(document(text))
    blocks = Blocks()
    blocks.feed(page)
    assert len(blocks.scripts) == 3, "the data, the frame, and the page's own script"
    assert json.loads("".join(blocks.scripts[0]))["title"] == text
    assert not blocks.addresses
    assert not blocks.handlers
    assert "pwned" not in "".join(blocks.scripts[2])


def test_the_policy_allows_this_very_script_and_nothing_else() -> None:
    page = render_page(document("x"))
    found = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[\w+/]+='", policy)) == 2
    assert "http" not in policy


def test_a_page_names_no_place_on_the_web() -> None:
    page = render_page(document("x"))
    assert set(re.findall(r"https?://[^\s\"'<>]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_a_document_survives_its_json() -> None:
    one = document("café")
    assert Document.model_validate_json(one.model_dump_json()) == one
