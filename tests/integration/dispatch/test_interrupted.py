"""Ctrl-C, a failing sibling, a timeout: what is paid for comes home, nothing more is asked, nothing is left behind."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Answer
from ants_engine.settings.config import Settings
from tests.integration.dispatch.asker import ask, asking
from tests.support.process import WAIT, FaultyServer, faulty_server

SLOTS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(autouse=True)
def forgotten(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.release()
    # what an earlier test gave up may still be with the server
    while server.counts()["in_flight"]:
        time.sleep(0.02)
    server.reset()
    # what a test asks stays under way until it says otherwise
    server.hold()


def start(server: FaultyServer, store: Path, grace: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.integration.dispatch.asker", server.base_url, str(store)]
    process = subprocess.Popen([*command, "40", f"{SLOTS}", f"{grace}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    while server.counts()["in_flight"] < SLOTS:
        time.sleep(0.02)
    return process


def interrupted(runs: Path) -> None:
    """Wait until a run has noticed that it was interrupted."""
    deadline = time.monotonic() + WAIT
    while '"interrupted"' not in "".join(path.read_text() for path in runs.glob("*/events.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def kept(folder: Path) -> int:
    async with ResponseStore(folder, strict=True) as store:
        return len([entry async for entry in store.entries() if isinstance(entry.ending, Answer)])


def test_one_interruption_lets_answers_come_home_and_asks_nothing_more(server: FaultyServer, tmp_path: Path) -> None:
    process = start(server, tmp_path / "store", grace=2 * WAIT)
    process.send_signal(signal.SIGINT)
    interrupted(tmp_path / "runs")
    server.release()
    out, _ = process.communicate(timeout=WAIT)
    assert out == "interrupted []\n"
    counts = server.counts()
    assert counts["total"] == sum(question["successes"] for question in counts["questions"].values()) == SLOTS
    assert asyncio.run(kept(tmp_path / "store")) == SLOTS
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "run.json").read_text())["ending"] == "interrupted"
    events = [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert "interrupted" in events


def test_a_second_one_ends_it_at_once(server: FaultyServer, tmp_path: Path) -> None:
    process = start(server, tmp_path / "store", grace=2 * WAIT)
    process.send_signal(signal.SIGINT)
    interrupted(tmp_path / "runs")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=WAIT)
    assert out == "interrupted []\n"
    assert asyncio.run(kept(tmp_path / "store")) == 0


def own_threads() -> set[str]:
    """Name the threads that are not the event loop's own, which live as long as it."""
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


async def in_flight(server: FaultyServer) -> None:
    while (await asyncio.to_thread(server.counts))["in_flight"] < SLOTS:
        await asyncio.sleep(0.02)


async def ask_until_it_is_busy(settings: Settings, server: FaultyServer, *, release: bool) -> None:
    """Ask within a time limit that is over once the server has all that it is given at once."""

    async def expire(limit: asyncio.Timeout) -> None:
        await in_flight(server)
        limit.reschedule(asyncio.get_running_loop().time())
        while not limit.expired():
            await asyncio.sleep(0)
        if release:
            await asyncio.to_thread(server.release)

    async with asyncio.timeout(None) as limit:
        expiring = asyncio.create_task(expire(limit))
        try:
            await ask(settings, 40)
        finally:
            await expiring


async def test_a_timeout_around_it_waits_for_what_is_paid_for(server: FaultyServer, tmp_path: Path) -> None:
    settings = asking(server.base_url, tmp_path / "store", SLOTS, WAIT)
    before = len(asyncio.all_tasks()), own_threads()
    with pytest.raises(TimeoutError):
        await ask_until_it_is_busy(settings, server, release=True)
    assert await kept(tmp_path / "store") == server.counts()["total"] == SLOTS
    assert (len(asyncio.all_tasks()), own_threads()) == before


async def test_a_grace_that_is_too_short_ends_it_all_the_same(server: FaultyServer, tmp_path: Path) -> None:
    settings = asking(server.base_url, tmp_path / "store", SLOTS, 0.05)
    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        await ask_until_it_is_busy(settings, server, release=False)
    assert len(asyncio.all_tasks()) == before
    assert await kept(tmp_path / "store") == 0


async def test_a_sibling_in_a_task_group_that_fails(server: FaultyServer, tmp_path: Path) -> None:
    async def fail() -> None:
        await in_flight(server)
        # the sibling learns of the failure before it can hear of this
        asyncio.get_running_loop().run_in_executor(None, server.release)
        raise ZeroDivisionError

    settings = asking(server.base_url, tmp_path / "store", SLOTS, WAIT)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(settings, 40))
            group.create_task(fail())
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]
    assert await kept(tmp_path / "store") == server.counts()["total"] == SLOTS


async def test_as_a_notebook_does_it_with_a_task_in_a_loop_that_goes_on(server: FaultyServer, tmp_path: Path) -> None:
    cell = asyncio.create_task(ask(asking(server.base_url, tmp_path / "store", SLOTS, WAIT), 40))
    await in_flight(server)
    cell.cancel()
    await asyncio.to_thread(server.release)
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert await kept(tmp_path / "store") == server.counts()["total"] == SLOTS
