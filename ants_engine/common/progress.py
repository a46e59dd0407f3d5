"""Progress of a long run: events, a bar on a terminal, and listeners that cannot break the run."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ants_engine.common.terminal_text import plain


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Progress of one stage."""

    stage: str
    """``model``, ``lexicon``, ``pictures``, ``captions``, ``look-alikes`` or ``negatives``."""
    done: int
    total: int | None
    """None while unknown."""
    note: str = ""


ProgressCallback = Callable[[ProgressEvent], None]


@contextmanager
def progress_reporter(
    bar: Literal["auto", "on", "off"], callback: ProgressCallback | None
) -> Iterator[ProgressCallback]:
    """Yield a function that passes events to the callback and, if enabled, to a progress bar on stderr."""
    wanted = bar == "on" or (bar == "auto" and sys.stderr.isatty())
    if not wanted:
        yield callback or _ignore
        return
    with _bar() as show:

        def both(event: ProgressEvent) -> None:
            show(event)
            if callback is not None:
                callback(event)

        yield both


def _ignore(event: ProgressEvent) -> None:
    pass


@contextmanager
def _bar() -> Iterator[ProgressCallback]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Left(TimeRemainingColumn):
        """Estimated time left, where it is known."""

        def render(self, task: Task) -> Text:
            known = not task.finished and task.time_remaining is not None
            return Text.assemble(super().render(task), " left") if known else Text("")

    columns = (
        TextColumn("{task.description:<12}", markup=False),
        # narrow, so that the note fits beside it
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        Left(compact=True),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def show(event: ProgressEvent) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = progress.add_task(plain(event.stage), total=event.total, note="")
            progress.update(tasks[event.stage], completed=event.done, total=event.total, note=plain(event.note))

        yield show


T = TypeVar("T")


class Listeners(Generic[T]):
    """Notifies several listeners. One that raises is logged once and removed."""

    def __init__(self, listeners: Iterable[T], log: logging.Logger, promise: str) -> None:
        """Register listeners, notified in this order.

        Args:
            listeners: the listeners.
            log: logger of the warning.
            promise: what is not affected, as text of that warning.
        """
        self._listening = tuple(listeners)
        self._log = log
        self._promise = promise

    def tell(self, tell: Callable[[T], None]) -> None:
        """Call ``tell`` with each listener."""
        for listener in self._listening:
            try:
                tell(listener)
            except Exception as error:
                # only the type: the error's text and traceback may contain pictures or keys
                self._log.warning(
                    "%s raised %s and is told nothing more; %s",
                    type(listener).__name__,
                    type(error).__name__,
                    self._promise,
                )
                self._listening = tuple(each for each in self._listening if each is not listener)
