"""The page of a run, served in the run's own loop: who may read it, how it goes on, and that it waits for nobody."""

import asyncio
import importlib
import json
import re
import socket
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from PIL import Image

from ants_engine import ANTS, RunObserver
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.cli.main import commands
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.common.progress import ProgressEvent
from ants_engine.errors import MissingDependencyError, UsageError
from ants_engine.learning.run_observer import AnsweredQuestion, FirstLook, RunStart, ScoredBatch
from ants_engine.report import live_state
from ants_engine.serve import live
from ants_engine.serve.live import LivePage
from ants_engine.settings.config import Settings
from tests.integration.conftest import CLASSES
from tests.unit.report.test_live_state import look, pulse, said

Reader = tuple[asyncio.StreamReader, asyncio.StreamWriter]
WAIT = 60.0
"""Seconds for what takes none, unless the machine has much else to do."""


@pytest.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """No task, thread or socket outlives a page."""
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + WAIT
    while True:
        left = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()]
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("ants-live")]
        if not left and not threads:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}, {threads}")
        await asyncio.sleep(0.02)


def place(page: LivePage) -> tuple[int, str]:
    parts = urlsplit(page.url)
    assert parts.hostname == "127.0.0.1"
    assert parts.port is not None
    return parts.port, parts.path


async def ask(port: int, text: str) -> Reader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.replace("\n", "\r\n").encode())
    return reader, writer


async def answer(port: int, text: str) -> tuple[int, str]:
    reader, writer = await ask(port, text)
    async with asyncio.timeout(WAIT):
        whole = (await reader.read()).decode()
    writer.close()
    return (int(whole.split()[1]) if whole else 0), whole


async def event(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Read one event out of the chunks that it comes in."""
    async with asyncio.timeout(WAIT):
        number = None
        while True:
            line = (await reader.readline()).decode()
            assert line, "the stream goes on"
            if found := re.match(r"id: (\d+)", line):
                number = int(found[1])
            if line.startswith("data: ") and number is not None:
                return number, json.loads(line.removeprefix("data: "))


async def test_only_its_own_address_with_its_secret_part_is_answered() -> None:
    async with LivePage("Test") as page:
        port, path = place(page)
        assert len(path.strip("/")) >= 32
        own = f"Host: 127.0.0.1:{port}\n\n"
        status, whole = await answer(port, f"GET {path} HTTP/1.1\n{own}")
        assert status == 200
        for said_by in ("default-src 'none'", "connect-src 'self'", "no-store", "nosniff", "no-referrer"):
            assert said_by in whole
        assert "Access-Control" not in whole
        assert (await answer(port, f"GET {path}live.js HTTP/1.1\nHost: localhost:{port}\n\n"))[0] == 200
        for refused, status in (
            (f"GET {path} HTTP/1.1\nHost: evil.example:{port}\n\n", 421),
            (f"GET {path} HTTP/1.1\nHost: 127.0.0.1:{port + 1}\n\n", 421),
            (f"GET {path} HTTP/1.0\n\n", 421),
            (f"GET / HTTP/1.1\n{own}", 404),
            (f"GET /events HTTP/1.1\n{own}", 404),
            (f"GET {path[:-2]}/events HTTP/1.1\n{own}", 404),
            (f"GET {path}../x HTTP/1.1\n{own}", 404),
            (f"GET {path}nothing HTTP/1.1\n{own}", 404),
            (f"POST {path} HTTP/1.1\nContent-Length: 0\n{own}", 405),
            (f"OPTIONS {path} HTTP/1.1\n{own}", 405),
            (f"GET {path} HTTP/1.1\nSec-Fetch-Site: cross-site\n{own}", 403),
            ("nonsense\n\n", 400),
            (f"GET {path} HTTP/1.1\n\n", 400),
            (f"GET /{'x' * 20_000} HTTP/1.1\n{own}", 431),
        ):
            found, whole = await answer(port, refused)
            assert found == status, refused[:80]
            assert "<script" not in whole
            assert path not in whole
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_who_comes_late_or_again_gets_what_is_missing() -> None:
    async with LivePage("Test") as page:
        port, path = place(page)
        page.state.progressed(ProgressEvent("pictures", 1, 2))
        events = f"GET {path}events HTTP/1.1\nHost: 127.0.0.1:{port}\n"
        reader, writer = await ask(port, f"{events}\n")
        number, found = await event(reader)
        assert set(found) == {"run", "now"}
        page.state.looked(look([0.2]))
        number, found = await event(reader)
        assert set(found) >= {"now", "scores"}
        assert "run" not in found
        # dropped, and meanwhile something happens
        writer.transport.abort()
        page.state.stands(*counts_and_pulse())
        reader, writer = await ask(port, f"{events}Last-Event-ID: {number}\n\n")
        again, found = await event(reader)
        assert again > number
        assert set(found) == {"now", "load"}
        writer.close()
        for late in ("", "Last-Event-ID: 999999\n", "Last-Event-ID: x\n"):
            reader, writer = await ask(port, f"{events}{late}\n")
            _, found = await event(reader)
            assert set(found) >= {"run", "now", "scores", "load"}
            writer.close()
        _, whole = await answer(port, f"GET {path}state.json HTTP/1.1\nHost: 127.0.0.1:{port}\n\n")
        assert set(json.loads(whole.partition("\r\n\r\n")[2])) >= {"run", "now", "scores", "load"}


def counts_and_pulse() -> tuple[Any, Any]:
    from ants_engine.dispatch.throughput_monitor import Counts

    return Counts(asked=1, in_flight=1), pulse()


async def test_readers_are_told_of_the_end_and_keep_nothing_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FAREWELL", WAIT)
    monkeypatch.setattr(live, "PATIENCE", 2 * WAIT)
    async with LivePage("Test") as page:
        port, path = place(page)
        reader, writer = await ask(port, f"GET {path}events HTTP/1.1\nHost: 127.0.0.1:{port}\n\n")
        await event(reader)
        idle, spare = await ask(port, "GET ")
        while len(page._server.server_state.connections) < 2:
            await asyncio.sleep(0.005)
        page.state.end("done", ["The report is report.html"])
        started = time.monotonic()
    assert time.monotonic() - started < live.FAREWELL / 2, "nobody waits for one who has asked for nothing"
    _, found = await event(reader)
    assert found["end"] == {"ending": "done", "lines": ["The report is report.html"]}
    rest = await reader.read()
    assert rest.endswith(b"0\r\n\r\n"), "a whole answer, not a broken one"
    writer.close()
    with pytest.raises(ConnectionError):
        if not await idle.read():
            raise ConnectionResetError
    spare.close()


@pytest.mark.parametrize(
    ("error", "ending"), [(None, "done"), (ValueError("secret"), "failed"), (asyncio.CancelledError(), "interrupted")]
)
async def test_the_page_says_how_it_ended(error: BaseException | None, ending: str) -> None:
    page = LivePage("Test")
    try:
        async with page:
            if error is not None:
                raise error
    except (ValueError, asyncio.CancelledError):
        pass
    _, text = page.state.since(0)
    assert text is not None
    assert json.loads(text)["end"]["ending"] == ending
    assert "secret" not in text


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=str(port)):
            async with LivePage("Test", port):
                pass


def test_without_the_extra_it_is_named_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(
        commands, ["build", "--classes", "no list", "--live", "nowhere/"], standalone_mode=False
    )
    assert isinstance(result.exception, MissingDependencyError)
    assert str(result.exception) == '--live needs uvicorn: pip install "ants-engine[serve]"'
    monkeypatch.delitem(sys.modules, "ants_engine.serve.live")
    with pytest.raises(MissingDependencyError, match=r"ants-engine\[serve\]"):
        importlib.import_module("ants_engine.serve.live")


async def test_a_reader_that_never_reads_is_dropped_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.6)
    monkeypatch.setattr(live, "PACE", 0.005)
    monkeypatch.setattr(live_state, "REST", 0.0)
    async with LivePage("Test") as page:
        port, path = place(page)
        connections = page._server.server_state.connections
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        with stuck:
            await asyncio.get_running_loop().sock_connect(stuck, ("127.0.0.1", port))
            request = f"GET {path}events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            await asyncio.get_running_loop().sock_sendall(stuck, request.encode())
            took, backlog = [], 0
            questions, pictures = [said(f"p{number}", "x" * 390) for number in range(20)], look([0.1] * 8)
            deadline = time.monotonic() + WAIT
            seen = False
            page.state.began(RunStart("build", ("cat", "dog"), None, Settings(), 0.5))
            page.state.looked(pictures)
            large = page.state.without_thumbnail()
            assert large is not None
            while time.monotonic() < deadline and not (seen and not connections):
                started = time.monotonic()
                for question in questions:
                    page.state.answered(question)
                page.state.looked(pictures)
                # so that what the system holds for a reader is soon full
                page.state.illustrate(large, "x" * 200_000)
                took.append(time.monotonic() - started)
                for connection in connections:
                    seen = True
                    backlog = max(backlog, connection.transport.get_write_buffer_size())
                await asyncio.sleep(0.005)
            assert seen
            assert not connections, "dropped"
            assert statistics.median(took) < live.PATIENCE / 2, "whoever tells it something waits for nobody"
            assert backlog < 500_000, "no more than one event waits for it"


class Everything(RunObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.run: RunStart | None = None
        self.stages: list[str] = []
        self.looks: list[FirstLook] = []
        self.answers: list[AnsweredQuestion] = []
        self.batches: list[ScoredBatch] = []
        self.last: Any = None

    def began(self, run: RunStart) -> None:
        self.run = run

    def progressed(self, event: ProgressEvent) -> None:
        self.stages.append(event.stage)

    def looked(self, look: FirstLook) -> None:
        self.looks.append(look)

    def answered(self, question: AnsweredQuestion) -> None:
        self.answers.append(question)

    def stands(self, counts: Any, pulse: Any) -> None:
        self.last = counts

    def scored(self, batch: ScoredBatch) -> None:
        self.batches.append(batch)


async def test_an_observer_is_told_of_a_build_and_a_stream(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    seen, told = Everything(), []
    options: Any = {"encoder": encoder, "backend": mllm, **settings}
    ants = await ANTS.build(CLASSES, images[:24], observers=[seen], on_progress=told.append, **options)
    plain = await ANTS.build(CLASSES, images[:24], **options)
    assert (plain.weight, plain.threshold) == (ants.weight, ants.threshold), "being watched changes nothing"
    assert seen.run is not None
    assert (seen.run.kind, seen.run.total, seen.run.class_names) == ("build", 24, tuple(CLASSES))
    assert seen.stages == [one.stage for one in told]
    assert sum(len(one.names) for one in seen.looks) == 24
    by_task = {task: [one for one in seen.answers if one.task == task] for task in ("ens", "vsnl")}
    assert len(by_task["ens"]) == ants.report.asked + ants.report.from_store - len(CLASSES)
    assert {one.name for one in by_task["vsnl"]} == set(CLASSES)
    assert all(one.text and one.error is None for one in seen.answers)
    assert by_task["ens"][0].ref is not None
    assert by_task["ens"][0].ref.load(seen.run.settings.pictures).size == (72, 64)
    assert (seen.last.asked, seen.last.answered) == (ants.report.asked + ants.report.from_store,) * 2

    seen = Everything()
    delivered = [scores async for scores in ants.stream(images, batch_size=16, observers=[seen])]
    assert seen.run is not None
    assert (seen.run.kind, seen.run.total) == ("stream", 40)
    assert [len(one.scores) for one in seen.batches] == [16, 16, 8]
    assert [one.scores.id_score.tolist() for one in seen.batches] == [one.id_score.tolist() for one in delivered]
    assert [one.record for one in seen.batches] == ants.report.batches[-3:]
    assert sum(len(one.names) for one in seen.looks) == 40
    assert [len(one.refs) for one in seen.batches] == [16, 16, 8]


def facts(state: dict[str, Any]) -> dict[str, str]:
    return {fact["name"]: fact["value"] for fact in state["now"]["facts"]} if "now" in state else {}


async def test_a_page_shows_a_real_build_with_its_pictures(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], mllm: ScriptedBackend
) -> None:
    async with LivePage("Test") as page:
        port, path = place(page)
        reader, writer = await ask(port, f"GET {path}events HTTP/1.1\nHost: 127.0.0.1:{port}\n\n")
        state: dict[str, Any] = {}
        ants = await ANTS.build(CLASSES, images, encoder=encoder, backend=mllm, observers=[page.state], **settings)
        described = ants.report.asked + ants.report.from_store - len(CLASSES)
        while (
            not any(name.startswith("thumbnail/") for name in state)
            or facts(state).get("Sentences") != f"{described}"
            or len(state["pictures"]) < 24
        ):
            state |= (await event(reader))[1]
        writer.close()
    assert facts(state)["Pictures"] == "40"
    assert sum(state["scores"]["neglabel_score"]["counts"]) == 40
    assert len(state["pictures"]) == 24
    thumbnail = next(text for name, text in state.items() if name.startswith("thumbnail/"))
    assert thumbnail.startswith("data:image/webp;base64,")


async def begin_to_look(page: LivePage) -> tuple[Reader, dict[str, Any]]:
    """Have one reader, and pictures in the gallery; return what it has been sent once it shows them."""
    port, path = place(page)
    connection = await ask(port, f"GET {path}events HTTP/1.1\nHost: 127.0.0.1:{port}\n\n")
    page.state.began(RunStart("build", ("cat", "dog"), None, Settings(), 0.5))
    state: dict[str, Any] = {}
    page.state.looked(look([0.1] * 30))
    while "pictures" not in state:
        state |= (await event(connection[0]))[1]
    return connection, state


async def test_the_thumbnails_that_are_missing_at_the_end_come_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()

    def make(*_: object) -> str:
        assert held.wait(WAIT)
        return "data:x"

    monkeypatch.setattr(live, "thumbnail", make)
    monkeypatch.setattr(live, "LAST_PICTURES", WAIT)
    async with LivePage("Test") as page:
        (reader, writer), state = await begin_to_look(page)
        assert not [name for name in state if name.startswith("thumbnail/")]
        page.state.end("done")
        held.set()
    while "end" not in state:
        state |= (await event(reader))[1]
    assert len(state["pictures"]) == 24
    assert {name for name in state if name.startswith("thumbnail/")} == {
        f"thumbnail/{one['number']}" for one in state["pictures"]
    }
    writer.close()


async def test_a_thumbnail_that_does_not_come_holds_up_the_end_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = threading.Event()
    monkeypatch.setattr(live, "thumbnail", lambda *_: held.wait(WAIT))
    monkeypatch.setattr(live, "LAST_PICTURES", 0.1)
    try:
        async with LivePage("Test") as page:
            (reader, writer), state = await begin_to_look(page)
        assert not held.is_set()
        while "end" not in state:
            state |= (await event(reader))[1]
        assert not [name for name in state if name.startswith("thumbnail/")]
        writer.close()
    finally:
        held.set()
