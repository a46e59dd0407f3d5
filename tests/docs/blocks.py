"""The code blocks of a page, and what is said about each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "examples" / "emoji_world").glob("*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ]
)

LANGUAGES = frozenset({"python", "sh", "toml", "json", "text"})
_NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->\s*\Z", re.DOTALL)
_RUN_BY = re.compile(r"<!--[^<>]*?\b(tests/\S+\.py) runs this block[^<>]*?-->\s*\Z")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """The page's path in the repository."""
    line: int
    """The line of its first fence, from 1."""
    language: str
    title: str | None
    """A file's name: the block is that file's content."""
    code: str
    not_run: str | None
    """Why it is not run, as the comment before it says."""
    run_by: str | None
    """The test of its own that runs it, as the comment before it says."""

    @property
    def place(self) -> str:
        """Say where it is."""
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Read the blocks of a page, in order."""
    before = ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map is not None
            said, own = _NOT_RUN.search(before), _RUN_BY.search(before)
            title = _TITLE.search(token.info)
            yield Block(
                page=str(page.relative_to(ROOT)),
                line=token.map[0] + 1,
                language=(token.info.split() or [""])[0],
                title=title[1] if title else None,
                code=token.content,
                not_run=said[1] if said else None,
                run_by=own[1] if own else None,
            )
        before = token.content if token.type == "html_block" else ""


def all_blocks() -> list[Block]:
    """Read the blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]
