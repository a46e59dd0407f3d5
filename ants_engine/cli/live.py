"""``--live``: the page of a run, for the commands that have one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ants_engine.cli.output import say
from ants_engine.cli.serve import check_installed
from ants_engine.common.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine import ANTS, RunObserver
    from ants_engine.report.seen import SeenPictures
    from ants_engine.serve.live import LivePage

F = TypeVar("F", bound=Callable[..., Any])
REPORT = "report.html"


def with_live(function: F) -> F:
    """Add ``--live`` and ``--live-port``; the command is given ``live``: a port, 0 for a free one, None for no page."""

    @wraps(function)
    def merged(*arguments: Any, live: bool, live_port: int | None, **options: Any) -> Any:
        if live or live_port:
            check_installed("--live", ("starlette", "uvicorn"))
        return function(*arguments, live=live_port or (0 if live else None), **options)

    port = click.option("--live-port", type=click.IntRange(1, 65535), help="The same, at a port of your choice.")
    flag = click.option("--live", is_flag=True, help="Serve a page that grows with the run, on 127.0.0.1 only.")
    return flag(port(merged))  # type: ignore[return-value]


@dataclass(slots=True)
class Watched:
    """A run with its page, or without one."""

    page: "LivePage | None" = None
    seen: "SeenPictures | None" = None

    @property
    def observers(self) -> "list[RunObserver]":
        """Who is to be told of the run."""
        return [] if self.page is None or self.seen is None else [self.page.state, self.seen]

    async def finish(self, ants: "ANTS", folder: Path | None) -> None:
        """Write the report into the folder of the saved detector, if there is one, and tell the page."""
        if self.page is None:
            return
        state = self.page.state
        state.decided(ants.weight, ants.threshold)
        lines = ["The detector was not saved."]
        if folder is not None:
            state.note("writing the report")
            lines = [f"The detector is in {folder}", await self._report(ants, folder)]
            say(plain(lines[1]), err=True)
        state.end("done", lines)

    async def _report(self, ants: "ANTS", folder: Path) -> str:
        from ants_engine.errors import ANTSError, MissingDependencyError

        try:
            path = await self._write(ants, folder / REPORT)
        except MissingDependencyError as error:
            return f"No report: {error}"
        except ANTSError as error:
            # the detector is saved, and stands whatever becomes of a page about it
            return f"No report: {type(error).__name__}: {error}"
        return f"The report is {path}"

    async def _write(self, ants: "ANTS", path: Path) -> Path:
        seen = self.seen
        if seen is None or not len(seen):
            return await ants.write_report(path)
        latest = "" if seen.count == len(seen) else f", the latest {len(seen):,} of {seen.count:,} pictures"
        title = f"Detector {path.parent.resolve().name}{latest}"
        return await ants.write_report(path, seen.paths, features=seen.features, title=title)


@asynccontextmanager
async def watched(port: int | None, title: str) -> AsyncIterator[Watched]:
    """Serve the page of what runs inside, and say its address; without a port, do nothing.

    Raises:
        UsageError: the port cannot be used.
    """
    if port is None:
        yield Watched()
        return
    from ants_engine.report.seen import SeenPictures
    from ants_engine.serve.live import LivePage

    async with LivePage(title, port) as page:
        say(f"watch it at {page.url}", err=True)
        yield Watched(page, SeenPictures())
