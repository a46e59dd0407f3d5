"""MkDocs hook: pages whose text lies elsewhere in the repository, and links that lead out of ``docs/``.

On a forge every link between files of the repository works. On the site a link to a file that is a page becomes a link
to that page, and one to a file that is none becomes plain text.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "emoji_world.md": "examples/emoji_world/README.md",
    "examples.md": "examples/README.md",
}
"""Page → file in the repository that holds its text."""

# the text of a link holds no bracket but those of a picture or code; what is in a fence is left alone
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]+)\]\((?P<target>[^()\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere."""
    for page, place in ELSEWHERE.items():
        if (source := ROOT / place).is_file():
            files.append(File.generated(config, page, content=source.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the repository's links into the site's."""
    here = page.file.src_uri
    written_in = posixpath.dirname(ELSEWHERE.get(here, f"docs/{here}"))
    pages = {ELSEWHERE.get(file.src_uri, f"docs/{file.src_uri}"): file.src_uri for file in files}

    def relinked(link: re.Match[str]) -> str:
        target = link["target"]
        if _OUTSIDE.match(target) or target.startswith("#"):
            return link[0]
        path, hash_, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(written_in, path))
        if place in pages:
            relative = posixpath.relpath(pages[place], posixpath.dirname(here) or ".")
            return f"{link['picture']}[{link['text']}]({relative}{hash_}{anchor})"
        if not (ROOT / place).exists():
            # left as it is: MkDocs warns of it, and a warning is an error
            return link[0]
        return link["text"]

    return "".join(part if fenced else _LINK.sub(relinked, part) for part, fenced in _parts(markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Drop the mark that introduces a literal block in docstrings, which Markdown does not know."""
    return html.replace("<p>::</p>\n", "")


def _parts(markdown: str) -> Iterator[tuple[str, bool]]:
    end = 0
    for fence in _FENCE.finditer(markdown):
        yield markdown[end : fence.start()], False
        yield fence[0], True
        end = fence.end()
    yield markdown[end:], False
