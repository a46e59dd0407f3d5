"""Several observers as one: each is told, and one that raises costs the run and the others nothing."""

import logging

import pytest

from ants_engine.common.progress import ProgressEvent
from ants_engine.dispatch.throughput_monitor import Counts
from ants_engine.learning.run_observer import RunObserver, RunObservers
from tests.unit.report.test_live_state import look, pulse, said


class Notes(RunObserver):
    def __init__(self, fails: bool = False) -> None:
        self.told: list[str] = []
        self._fails = fails

    def looked(self, look: object) -> None:
        self.told.append("looked")
        if self._fails:
            raise OSError("secret words")

    def answered(self, question: object) -> None:
        self.told.append("answered")


def tell(observers: RunObserver) -> None:
    observers.progressed(ProgressEvent("pictures", 1, 2))
    observers.looked(look([0.5]))
    observers.answered(said("a", "b"))
    observers.stands(Counts(), pulse())


def test_one_that_raises_is_logged_once_and_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    broken, sound = Notes(fails=True), Notes()
    observers = RunObservers([broken, sound])
    with caplog.at_level(logging.WARNING):
        tell(observers)
        tell(observers)
    assert broken.told == ["looked"]
    assert sound.told == ["looked", "answered"] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "Notes raised OSError and is told nothing more; the run goes on"
    ], "not what it said, which may be a secret"


def test_what_is_not_overridden_does_nothing() -> None:
    tell(RunObservers([RunObserver()]))
