"""Check the built site: every link and anchor leads somewhere, and no page loads anything from elsewhere.

Links to other sites are listed, not followed. Exit code 1 when something is broken.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
_LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "prefetch",
    "manifest",
}
_CSS_LOAD = re.compile(r"""(?:url\(\s*|@import\s+)["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


@dataclass
class _Page(HTMLParser):
    """What one page offers and wants."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what this tag names, links to or loads."""
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if found.get(name))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and _LOADING_LINKS.intersection(found.get("rel", "").lower().split()):
            self.loads.append(found.get("href", ""))
        if tag in _LOADS and found.get(_LOADS[tag]):
            self.loads.append(found[_LOADS[tag]])
        self.loads += _CSS_LOAD.findall(found.get("style", ""))


@dataclass
class Findings:
    """What is wrong with a site, and where else it points."""

    pages: int = 0
    links: int = 0
    broken: list[str] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)


def check(site: Path) -> Findings:
    """Read all pages and style sheets below a folder."""
    site, found = site.resolve(), Findings()
    pages: dict[Path, _Page] = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = page = _Page()
        page.feed(file.read_text(encoding="utf-8"))
    for sheet in sorted(site.rglob("*.css")):
        for load in _CSS_LOAD.findall(sheet.read_text(encoding="utf-8")):
            found.broken.append(f"{sheet.relative_to(site)} loads {load}")
    found.pages = len(pages)
    for file, page in pages.items():
        name = str(file.relative_to(site))
        for load in page.loads:
            if _is_elsewhere(load):
                found.broken.append(f"{name} loads {load}")
        # a page that is shown for any address that does not exist cannot link relatively
        for link in [] if file.name == "404.html" else [*page.links, *page.loads]:
            found.links += 1
            if _is_elsewhere(link):
                found.elsewhere.add(link)
            elif problem := _problem(link, file, site, pages):
                found.broken.append(f"{name}: {link}: {problem}")
    return found


def _is_elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in {"", "file"}


def _problem(link: str, file: Path, site: Path, pages: dict[Path, _Page]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme == "file" or parts.path.startswith("/"):
        return "leads out of the site"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_relative_to(site) or not target.is_file():
        return "no such file"
    # what a script shows under a name of its own, such as the search, is no anchor
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors | {"__search"}:
        return "no such anchor"
    return None


def main() -> int:
    """Print what was found."""
    site = Path(sys.argv[1] if len(sys.argv) > 1 else "build/site")
    found = check(site)
    if not found.pages:
        print(f"{site}: no pages; build them first: make docs", file=sys.stderr)
        return 2
    for link in sorted(found.elsewhere):
        print(f"not followed: {link}")
    for problem in found.broken:
        print(f"BROKEN: {problem}", file=sys.stderr)
    elsewhere, broken = len(found.elsewhere), len(found.broken)
    print(f"{found.pages} pages, {found.links} links; {elsewhere} lead elsewhere; {broken} broken")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
