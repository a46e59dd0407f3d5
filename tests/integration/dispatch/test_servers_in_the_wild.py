"""Real servers that go away, count, or know no such model: a process on loopback, and the real client in between."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.request import Outcome
from ants_engine.errors import BackendUnavailableError, BadRequestError, NotEnoughAnswersError
from benchmarks.reliability.harness import make_requests, settings_for
from tests.support.faulty.plan import right_answer
from tests.support.process import FaultyServer, faulty_server, free_port, wait_for

ROOT = Path(__file__).parents[3]


class Events(Observers):
    """Remembers what happened, and lets one wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._changed = asyncio.Event()

    def ended(self, outcome: Outcome) -> None:
        self._note("ended")

    def event(self, kind: str, **facts: Any) -> None:
        self._note(kind)

    def _note(self, kind: str) -> None:
        self.seen.append(kind)
        self._changed.set()

    async def happened(self, kind: str, times: int = 1) -> None:
        while self.seen.count(kind) < times:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 60)


@contextmanager
def server_on(port: int, log: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.integration.faulty_server", "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(log, r"listening on (\d+)", process)
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def asking(
    base_url: str, folder: Path, count: int, *, prompt: str = "", **dispatch: Any
) -> AsyncIterator[tuple["list[asyncio.Task[Outcome]]", Events, Coordinator]]:
    events = Events()
    settings = settings_for(base_url, folder / "store", slots=16, mode="live", **dispatch)
    async with Coordinator(settings, observers=[events]) as coordinator:
        asked = make_requests(count, dict(coordinator.identity))
        if prompt:
            asked = [replace(each, prompt=f"{prompt} {number}") for number, each in enumerate(asked)]
        yield [coordinator.submit(each) for each in asked], events, coordinator


def all_right(outcomes: list[Outcome]) -> bool:
    return all(
        outcome.answer is not None and outcome.answer.text == right_answer(outcome.request.prompt)
        for outcome in outcomes
    )


async def test_a_server_that_is_killed_and_comes_back_answers_every_question(tmp_path: Path) -> None:
    port, slow = free_port(), ("--latency", "0.05")
    base_url = f"http://127.0.0.1:{port}/v1"
    with server_on(port, tmp_path / "before", *slow) as first:
        # a try more than the one that the kill may cut off
        async with asking(base_url, tmp_path, 80, attempts=2) as (tasks, events, coordinator):
            await events.happened("ended", 20)
            first.kill()
            first.wait()
            await events.happened("server_down")
            assert coordinator.pulse.down_since is not None
            assert events.seen.count("ended") < 80
            with server_on(port, tmp_path / "after", *slow):
                outcomes = await asyncio.gather(*tasks)
            assert coordinator.pulse.spent.requests <= 80 + 16
    assert all_right(outcomes)
    assert events.seen[-1] != "server_down"


async def test_a_gateway_whose_server_is_away_is_waited_for_too(tmp_path: Path) -> None:
    """It answers 502 to everything, and then it answers."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    with server_on(port, tmp_path / "before") as first:
        async with asking(base_url, tmp_path, 8) as (tasks, _, coordinator):
            assert all_right(await asyncio.gather(*tasks))
            first.kill()
            first.wait()
            with server_on(port, tmp_path / "between", "--concurrency-limit", "0", "--busy-status", "502"):
                asked = make_requests(40, dict(coordinator.identity), first=100)
                more = [coordinator.submit(each) for each in asked]
                while coordinator.pulse.down_since is None:
                    await asyncio.sleep(0.01)
            with server_on(port, tmp_path / "after"):
                outcomes = await asyncio.gather(*more)
    assert all_right(outcomes)


async def test_a_port_where_nothing_ever_answered_fails_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ants_engine.dispatch.limits.constants.OUTAGE_FIRST_CONTACT", 0.5)
    async with asking(f"http://127.0.0.1:{free_port()}/v1", tmp_path, 100) as (tasks, _, coordinator):
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert coordinator.pulse.spent.requests == 0
    assert {type(outcome.error) for outcome in outcomes} == {BackendUnavailableError}
    assert all("has answered nothing in this run" in str(outcome.error) for outcome in outcomes)


@pytest.mark.parametrize(("status", "wish"), [("429", "60"), ("503", "60"), ("429", None)])
async def test_a_limit_of_so_many_at_once_is_learned_and_its_retry_after_costs_no_minute(
    tmp_path: Path, status: str, wish: str | None
) -> None:
    options = ["--concurrency-limit", "4", "--busy-status", status, "--latency", "0.15"]
    with faulty_server(tmp_path / "log", *options, *(["--retry-after", wish] if wish else [])) as server:
        async with asking(server.base_url, tmp_path, 100) as (tasks, events, coordinator):
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 30)
            assert 3 <= coordinator.pulse.limit <= 6
        counts = server.counts()
    assert all_right(outcomes)
    assert not {"paused", "pace_changed", "server_down"} & set(events.seen)
    # the first window is 16: twelve are refused, and from then on hardly any
    assert counts["by_ending"]["busy"] <= 12 + 10
    assert max(outcome.attempts for outcome in outcomes) <= 3


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_limit_of_so_many_a_second_is_met_by_a_pace_whatever_its_status(tmp_path: Path, status: str) -> None:
    with faulty_server(tmp_path / "log", "--rate", "80", "--burst", "2", "--rate-status", status) as server:
        async with asking(server.base_url, tmp_path, 160) as (tasks, events, _):
            outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 60)
        counts = server.counts()
    assert all_right(outcomes)
    assert "pace_changed" in events.seen
    assert counts["by_ending"]["rate"] <= 60


async def refused_for_good(server: FaultyServer, folder: Path, prompt: str) -> tuple[list[Outcome], int]:
    server.reset()
    async with asking(server.base_url, folder, 190, prompt=prompt) as (tasks, _, _):
        outcomes = await asyncio.gather(*tasks)
    return outcomes, server.counts()["total"]


async def test_what_would_meet_every_question_is_asked_of_a_few(tmp_path: Path) -> None:
    with faulty_server(tmp_path / "log") as server:
        for kind in ("404", "400", "422"):
            outcomes, asked = await refused_for_good(server, tmp_path / kind, kind)
            # as many as go at once to begin with, and those that take their places before the third has failed
            assert asked <= 16 + 3
            errors = [outcome.error for outcome in outcomes]
            assert [type(error) for error in errors].count(BadRequestError) == asked
            ended = [error for error in errors if isinstance(error, NotEnoughAnswersError)]
            assert len(ended) == 190 - asked
            assert all(str(error).count("HTTP") == 1 for error in ended)
