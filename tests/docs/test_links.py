"""Links between files of the repository, as a forge follows them; the built site's are `make docs`'s to check."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.blocks import PAGES, ROOT

READ = [*PAGES, ROOT / "CHANGELOG.md"]


def links(tokens: list[Token]) -> Iterator[str]:
    """Give every target of a link or picture."""
    for token in tokens:
        yield from (str(token.attrs[name]) for name in ("href", "src") if name in token.attrs)
        yield from links(token.children or [])


@pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    found = [urlsplit(link) for link in links(MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")))]
    inside = [unquote(link.path) for link in found if not link.scheme and link.path]
    assert [path for path in inside if not (page.parent / path).exists()] == []


def test_it_reads_links_in_tables_and_lists() -> None:
    text = "| a |\n|---|\n| [x](one.md) |\n\n- ![y](two.png)\n"
    assert list(links(MarkdownIt().enable("table").parse(text))) == ["one.md", "two.png"]
