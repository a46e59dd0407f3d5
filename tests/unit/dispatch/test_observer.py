"""Several observers as one: each is told, and one that raises costs the others nothing."""

import logging
from collections.abc import Mapping

import pytest

from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.protocol import JSON, Answer
from tests.unit.dispatch.fakes import make_request


class Notes:
    """Notes what it is told, and raises when told one thing."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[str] = []
        self.fails_at = fails_at

    def _note(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails_at:
            raise OSError("secret words")

    def begin(self, facts: Mapping[str, JSON]) -> None:
        self._note("begin")

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        self._note("attempted")

    def ended(self, outcome: Outcome) -> None:
        self._note("ended")

    def event(self, kind: str, **facts: JSON) -> None:
        self._note(f"event {kind} {facts}")

    def close(self, ending: str) -> None:
        self._note(f"close {ending}")


def tell(observers: Observers) -> None:
    request, answer = make_request(), Answer("yes")
    observers.begin({})
    observers.attempted(request, 1, 0.5, answer)
    observers.ended(Outcome(request, answer, None, "backend", 1, 0.5))
    observers.event("paused", seconds=2)
    observers.close("done")


ALL = ["begin", "attempted", "ended", "event paused {'seconds': 2}", "close done"]


def test_everyone_is_told_everything() -> None:
    notes = [Notes(), Notes()]
    tell(Observers(notes))
    assert [each.told for each in notes] == [ALL, ALL]


@pytest.mark.parametrize("number", range(4))
def test_one_that_raises_is_told_no_more_but_the_end(number: int, caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Notes(ALL[number]), Notes()
    with caplog.at_level(logging.WARNING):
        tell(Observers([broken, sound]))
    assert sound.told == ALL
    assert broken.told == [*ALL[: number + 1], "close done"]
    (record,) = caplog.records
    assert "Notes raised OSError" in record.getMessage()
    assert "secret words" not in caplog.text


def test_closing_twice_tells_once_and_an_error_there_is_guarded(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Notes("close done"), Notes()
    observers = Observers([broken, sound])
    observers.close("done")
    observers.close("done")
    observers.event("late")
    assert broken.told == sound.told == ["close done"]
    assert len(caplog.records) == 1
