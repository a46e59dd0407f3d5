import io
import sys

import pytest

from ants_engine.common.progress import ProgressEvent, progress_reporter

EVENTS = [ProgressEvent("pictures", 1, None), ProgressEvent("pictures", 2, 3), ProgressEvent("captions", 0, 5)]


def report(bar: str, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> tuple[list[ProgressEvent], str]:
    seen: list[ProgressEvent] = []
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_reporter(bar, seen.append) as tell:
        for event in EVENTS:
            tell(event)
    return seen, screen.getvalue()


@pytest.mark.parametrize(
    ("bar", "terminal", "shown"),
    [("auto", False, False), ("auto", True, True), ("on", False, True), ("off", True, False), ("off", False, False)],
)
def test_a_bar_where_it_is_wanted_and_events_always(
    bar: str, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, printed = report(bar, monkeypatch, terminal=terminal)
    assert seen == EVENTS
    assert ("captions" in printed) is shown
