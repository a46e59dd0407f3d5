"""``ants build --live`` on the emoji world, as a process of its own, and its page in Chromium while it grows."""

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.browser import serious
from tests.support.models_server import ModelsServer, Reply, listing
from tests.support.models_server import said as answer
from tests.support.process import WAIT
from tests.support.relay import Relay

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "examples" / "emoji_world"
CLASSES = "lion,elephant,panda,zebra,banana,strawberry,guitar,violin,bus,tractor"
LOOK_ALIKES = ("wolf", "fox", "bear", "seal", "lynx")
EARLY = 25
"""Questions that are answered at once: those about the ten classes, and some about pictures."""


@dataclass
class Child:
    """A command that has said where its page is."""

    process: "subprocess.Popen[str]"
    url: str

    def end(self) -> str:
        """Wait for the end; return what else it has said."""
        _, said = self.process.communicate(timeout=WAIT)
        return said


def start(folder: Path, *command: str) -> Child:
    settings = {"dispatch.store": folder / "store", "dispatch.runs": folder / "runs", "text.feature_cache": "null"}
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    ants = str(Path(sys.executable).parent / "ants")
    process = subprocess.Popen(
        [ants, *command, *given, "--live"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"watch it at (http://127\.0\.0\.1:\d+/\S+/)", line):
            return Child(process, found[1])
    raise AssertionError(f"it ended, exit code {process.wait()}: {said}")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """What a test starts is ended with it."""
    started: list[Child] = []
    yield started
    for child in started:
        if child.process.poll() is None:
            child.process.kill()
        child.process.communicate()


def fact(page: Any, name: str) -> str:
    found = page.locator("#facts > div", has=page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("strong")
    return found.inner_text() if found.count() else ""


def build(folder: Path, *more: str) -> Child:
    pictures = str(WORLD / "pictures" / "images" / "*" / "[a-k]*" / "04.jpg")
    return start(folder, "build", "--classes", CLASSES, "--config", str(WORLD), *more, pictures)


@dataclass
class Mllm:
    """A chat server that keeps most questions waiting until it is let go."""

    url: str
    let_go: threading.Event


@pytest.fixture
def mllm() -> Iterator[Mllm]:
    numbers, lock, let_go = itertools.count(), threading.Lock(), threading.Event()

    def chat(body: dict[str, Any]) -> Reply:
        with lock:
            number = next(numbers)
        if number >= EARLY:
            let_go.wait(WAIT)
        if "Describe" in json.dumps(body["messages"]):
            return answer(f"A tram with the number {number}.")
        return answer("\n".join(f"{place}. {name} {number}" for place, name in enumerate(LOOK_ALIKES, 1)))

    with ModelsServer(listing("tiny"), chat) as server:
        yield Mllm(server.url, let_go)
        let_go.set()


def test_the_page_grows_with_a_build_comes_back_after_a_break_and_says_where_the_report_is(
    browser: Any, tmp_path: Path, children: list[Child], mllm: Mllm
) -> None:
    options = ("mllm.backend=openai", "mllm.model=tiny", f"mllm.base_url={mllm.url}")
    children.append(build(tmp_path, "-o", "detector", *(part for option in options for part in ("--set", option))))
    child = children[0]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT * 1000)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    elsewhere: list[str] = []
    page.on("request", lambda one: elsewhere.append(one.url) if not one.url.startswith((child.url, "data:")) else None)
    page.goto(child.url)
    # another reader, over a line that breaks
    relay = Relay(int(urlsplit(child.url).port or 0))
    other = browser.new_context().new_page()
    other.set_default_timeout(WAIT * 1000)
    other.goto(child.url.replace(f":{urlsplit(child.url).port}", f":{relay.port}"))

    counts: list[tuple[str, str]] = []
    dropped, back, before = False, False, 0
    deadline = time.monotonic() + 2 * WAIT
    while page.locator("#end").is_hidden():
        assert time.monotonic() < deadline, counts
        now = (fact(page, "Pictures"), fact(page, "Sentences"))
        if now not in counts:
            counts.append(now)
        if not dropped and fact(other, "Pictures"):
            before = relay.passed
            relay.drop()
            other.locator("#status[data-state='lost']").wait_for()
            dropped = True
        elif dropped and not back:
            back = relay.passed > before and other.locator("#status").get_attribute("data-state") != "lost"
        elif back and now[1] not in ("", "0"):
            mllm.let_go.set()
        page.wait_for_timeout(60)
    assert "Done." in page.locator("#ending").inner_text(), child.end()
    assert len(counts) >= 3, counts
    made = json.loads((tmp_path / "detector" / "detector.json").read_text())["report"]
    assert fact(page, "Pictures") == str(made["pictures"])
    assert int(fact(page, "Sentences")) == made["asked"] + made["from_store"] - 10, "all but the look-alikes"
    assert "The report is detector/report.html" in page.locator("#lines").inner_text()
    assert page.locator("#cards > li").count() == 24
    assert page.locator("#cards > li .why.pending").count() == 0, "those that were described are shown"
    assert page.locator("#cards img").count() > 0
    assert page.locator("#f-neglabel_score svg rect").count() > 1
    assert page.locator("#f-load svg polyline").count() == 2
    assert page.locator("#said dt").count() == 10
    assert re.match("It took", page.locator("#clock").inner_text())
    with page.expect_download() as waiting:
        page.get_by_role("button", name="state.json").click()
    state = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert sum(state["scores"]["neglabel_score"]["counts"]) == made["pictures"]

    # the one that was dropped has all of it too
    assert back
    other.locator("#end").wait_for()
    assert fact(other, "Sentences") == fact(page, "Sentences")
    assert other.locator("#cards > li").count() == 24

    assert "The report is detector/report.html" in child.end()
    assert child.process.returncode == 0
    assert (tmp_path / "detector" / "report.html").stat().st_size > 100_000
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "live.png", full_page=True)
    assert said == [], "the console stays empty"
    assert elsewhere == [], "nothing else is loaded"
    context.close()
    other.context.close()
    relay.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Path:
    """Answers with markup in them; after the first ones, the next takes longer than any test."""
    delayed: list[Any] = [f"<img src=x onerror=alert({number})> a tram" for number in range(4)]
    delayed.append({"text": "a tram", "delay": 2 * WAIT})
    look_alikes = "<b>wolf</b>, fox, bear, seal, lynx"
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"answers": {"Describe": delayed, "Name": look_alikes}}))
    return path


def slow(tmp_path: Path, scripted: Path) -> Child:
    options = {"mllm.backend": "scripted", "mllm.answers": scripted, "dispatch.grace": 0.5}
    given = [part for key, value in options.items() for part in ("--set", f"{key}={value}")]
    return build(tmp_path, "-o", "detector", *given)


def test_markup_does_nothing_and_ctrl_c_ends_all(
    browser: Any, tmp_path: Path, scripted: Path, children: list[Child]
) -> None:
    children.append(slow(tmp_path, scripted))
    child = children[0]
    # axe's script is put in from outside, which the page's policy rightly forbids
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(WAIT * 1000)
    page.on("dialog", lambda dialog: pytest.fail("markup was run"))
    page.goto(child.url)
    page.locator("#cards .why", has_text="onerror").first.wait_for()
    page.locator("#said dd", has_text="<b>wolf</b>").first.wait_for()
    assert page.locator("#cards img[src='x']").count() == 0
    assert page.locator("#said b").count() == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page) == []
    child.process.send_signal(signal.SIGINT)
    page.get_by_text("Interrupted.").wait_for()
    assert "interrupted" in child.end()
    assert child.process.returncode == 130
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(child.url, timeout=2)
    assert page.locator("#status").inner_text() == "The run is over; this page stays as it is."
    context.close()
