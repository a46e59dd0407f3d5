"""Through all layers: an outage costs no question its tries, and what was never sent counts for nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.observer import Observers
from ants_engine.dispatch.request import LazyPicture, Outcome, Request
from ants_engine.errors import BackendTimeoutError, BackendUnavailableError, BadRequestError, ImageUnreadableError
from ants_engine.protocol import Answer, Call, Capabilities, Picture
from ants_engine.settings.config import BudgetSettings
from tests.unit.dispatch.fakes import FakeBackend, make_request, make_settings, no_sleep


class Watching(Observers):
    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[str] = []
        self.events: list[str] = []

    def attempted(self, request: Request, attempt: int, seconds: float, ending: Answer | Exception) -> None:
        self.attempts.append(request.prompt)

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append(kind)


def down(*, sent: bool) -> BackendUnavailableError:
    error = BackendUnavailableError("http://server: nobody there")
    error.down, error.sent = True, sent
    return error


def requests(count: int) -> list[Request]:
    return [make_request(f"{number}") for number in range(count)]


@pytest.mark.parametrize("sent", [True, False])
async def test_every_question_survives_an_outage_and_no_try_is_used_up(tmp_path: Path, sent: bool) -> None:
    answered = failed = 0

    def act(call: Call) -> Answer:
        nonlocal answered, failed
        if answered >= 10 and failed < 5:
            failed += 1
            raise down(sent=sent)
        answered += 1
        return Answer(call.prompt)

    watching, backend = Watching(), FakeBackend(act)
    settings = make_settings(tmp_path, attempts=2, mode="live")
    async with Coordinator(settings, backend=backend, observers=[watching], sleep=no_sleep) as opened:
        opened_pulse = opened.pulse
        outcomes = await asyncio.wait_for(asyncio.gather(*map(opened.submit, requests(40))), 60)
        spent = opened.pulse.spent.requests
    assert opened_pulse.down_since is None
    assert all(outcome.answer is not None for outcome in outcomes)
    assert [kind for kind in watching.events if kind.startswith("server_")] == ["server_down", "server_back"]
    assert spent == (45 if sent else 40)
    assert len(watching.attempts) == spent


async def test_the_deadline_ends_an_outage_with_an_error_that_says_since_when(tmp_path: Path) -> None:
    alive = True

    def act(call: Call) -> Answer:
        if alive:
            return Answer("x")
        raise down(sent=False)

    words: set[str] = set()
    async with Coordinator(make_settings(tmp_path, deadline=0.7, mode="live"), backend=FakeBackend(act)) as opened:
        await opened.submit(make_request("first"))
        alive = False
        tasks = [opened.submit(request) for request in requests(40)]
        while not all(task.done() for task in tasks):
            words.add(opened.pulse.in_words())
            await asyncio.sleep(0.01)
        errors = [task.result().error for task in tasks]
        alive = True
        while (last := await opened.submit(make_request("last"))).answer is None:
            await asyncio.sleep(0.01)
    assert {type(error) for error in errors} == {BackendUnavailableError}
    assert all("nobody there. The server has been down since " in str(error) for error in errors)
    assert any("server down since " in each and "probing" in each for each in words)
    assert last.answer == Answer("x"), "a later question finds the server again"


async def test_one_bad_question_among_good_ones_uses_up_its_tries(tmp_path: Path) -> None:
    def act(call: Call) -> Answer:
        if call.prompt == "3":
            raise down(sent=True)
        return Answer("x")

    backend = FakeBackend(act)
    async with Coordinator(make_settings(tmp_path, mode="live"), backend=backend, sleep=no_sleep) as opened:
        outcomes = await asyncio.wait_for(asyncio.gather(*map(opened.submit, requests(12))), 20)
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 1, 5] + [1] * 8
    assert [outcome.error is None for outcome in outcomes].count(False) == 1


async def test_pictures_that_are_gone_cost_no_budget_no_try_and_teach_nothing(tmp_path: Path) -> None:
    async def load() -> Picture:
        raise OSError("gone")

    def gone(number: int) -> Request:
        sha256 = f"{number:064x}"
        return make_request(
            "?", task="ens", template="ens/v1", picture=LazyPicture(sha256, load), picture_sha256=sha256
        )

    watching = Watching()
    settings = make_settings(tmp_path, budget=BudgetSettings(requests=50), requests_per_minute=3000)
    backend = FakeBackend(capabilities=Capabilities(max_concurrency=32))
    async with Coordinator(settings, backend=backend, observers=[watching]) as opened:
        before = opened.pulse.limit
        lost = await asyncio.gather(*(opened.submit(gone(number)) for number in range(60)))
        assert {type(outcome.error) for outcome in lost} == {ImageUnreadableError}
        assert {outcome.attempts for outcome in lost} == {0}
        assert (opened.pulse.limit, opened.pulse.spent.requests, watching.attempts) == (before, 0, [])
        kept = await asyncio.gather(*map(opened.submit, requests(50)))
    assert all(outcome.answer is not None for outcome in kept)


async def test_what_the_backend_could_not_send_costs_nothing_either(tmp_path: Path) -> None:
    def act(call: Call) -> Answer:
        error = BadRequestError("cannot be made")
        error.sent = False
        raise error

    watching = Watching()
    async with Coordinator(make_settings(tmp_path), backend=FakeBackend(act), observers=[watching]) as opened:
        outcome: Outcome = await opened.submit(make_request())
        spent = opened.pulse.spent
    assert (outcome.attempts, spent.requests, spent.tokens, watching.attempts) == (0, 0, 0, [])


async def test_cancelled_calls_are_no_successes(tmp_path: Path) -> None:
    async def hang(call: Call) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    backend = FakeBackend(hang, Capabilities(max_concurrency=64))
    async with Coordinator(make_settings(tmp_path, mode="live"), backend=backend) as opened:
        limit = opened.pulse.limit
        tasks = [opened.submit(request) for request in requests(3 * limit)]
        while backend.in_flight < limit:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert opened.pulse.limit == limit
        assert opened.pulse.spent.requests == limit == len(backend.calls)


async def test_a_timeout_is_no_outage(tmp_path: Path) -> None:
    def act(call: Call) -> Answer:
        raise BackendTimeoutError("slow")

    backend = FakeBackend(act)
    async with Coordinator(make_settings(tmp_path, attempts=3, mode="live"), backend=backend, sleep=no_sleep) as opened:
        outcomes = await asyncio.gather(*map(opened.submit, requests(8)))
    assert {outcome.attempts for outcome in outcomes} == {3}
