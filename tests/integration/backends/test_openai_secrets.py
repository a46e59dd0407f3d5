"""Neither key nor picture in anything that a failing run leaves behind."""

import base64
import io
import logging

import pytest

from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.storage import cassette
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Decoding
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings
from tests.integration.faulty_server import question_of, right_answer
from tests.support.left_behind import everything
from tests.support.pictures import call, picture
from tests.support.process import faulty_server

KEY = "sk-proj-a7Q0very9Private3Key5thatNobodyMaySee"
KINDS = ("right", "400-echo", "401", "500-echo", "answer-echo", "cut", "hang", "bomb", "429-seconds", "refusal", "307")
SHOWN = picture(size=(120, 90))
DATA = base64.b64encode(SHOWN.data).decode()
# any stretch of the picture's data would do harm; these are its head, its middle and its tail
PRIVATE = [KEY, KEY[8:30], DATA[:40], DATA[len(DATA) // 2 :][:40], DATA[-40:], "base64,", repr(SHOWN.data[16:40])[2:-1]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with faulty_server(tmp_path_factory.mktemp("server") / "server.log", "--retry-after", "0.01") as server:
        yield server


@pytest.fixture
def log():
    """All that is logged, at the lowest level, by whomever; the client's loggers are asked for theirs by name."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)r"))
    loggers = [logging.getLogger(name) for name in (None, "openai", "httpx2", "httpcore2", "ants_engine")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    yield written
    loggers[0].removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def request(identity, prompt):
    return Request(
        task="ens", template="ens/v1", template_sha256="ab" * 32, prompt=prompt, identity=identity,
        decoding=Decoding(8), picture_sha256=SHOWN.sha256, picture=SHOWN, label="a/picture.png",
    )  # fmt: skip


async def test_a_failing_run_leaves_nothing_private(server, log, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    mllm = MLLMSettings.model_validate({"backend": "openai", "model": "tiny", "base_url": server.base_url})
    settings = Settings(
        mllm=mllm,
        dispatch=DispatchSettings(
            store=tmp_path / "store", runs=tmp_path / "runs", attempts=2, attempt_timeout=3, mode="record"
        ),
    )
    async with Coordinator(settings) as coordinator:
        tasks = [coordinator.submit(request(coordinator.identity, f"{kind} please")) for kind in KINDS]
        outcomes = [await task for task in tasks]
        left = [repr(each) for each in (coordinator, settings, vars(coordinator), mllm, coordinator.counts)]
    async with ResponseStore(tmp_path / "store") as store:
        kept = await cassette.export(store, tmp_path / "answers.jsonl")

    assert outcomes[0].answer is not None
    assert outcomes[0].answer.text == right_answer(question_of("right please", SHOWN.data))
    assert all(outcome.error is not None for outcome in outcomes[1:])
    assert kept == len(KINDS)
    for outcome in outcomes:
        left += [repr(outcome), repr(vars(outcome.request))]
        left += [] if outcome.error is None else [everything(outcome.error)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"answers.jsonl", "run.json"} <= {path.name for path in files}
    logged = log.getvalue()
    assert "httpcore2.http11 receive_response_headers.complete" in logged, "the client's own log is looked at"
    found = {
        (where, private)
        for where, text in [("log", logged), ("objects", "\n".join(left)), *_texts(files)]
        for private in PRIVATE
        if private in text
    }
    assert not found


@pytest.mark.parametrize("kind", ["400-echo", "401", "500-echo", "answer-echo"])
async def test_a_traceback_with_all_locals_holds_nothing_private(server, monkeypatch, kind):
    """As a crash reporter would show it, from a backend that is asked directly."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = OpenAIBackend(OpenAIOptions(model="tiny", base_url=server.base_url))
    try:
        await backend.generate(call(f"{kind} please", SHOWN))
    except Exception as error:  # whatever it is
        shown = everything(error)
    assert "backends/openai.py" in shown
    assert [private for private in PRIVATE if private in shown] == []
    assert KEY not in repr(vars(backend))
    await backend.aclose()


async def test_the_log_is_scrubbed_only_while_a_client_is_open(server):
    logger = logging.getLogger("httpcore2.http11")
    before = list(logger.filters)
    backend = OpenAIBackend(OpenAIOptions(model="tiny", base_url=server.base_url))
    await backend.generate(call("right"))
    assert len(logger.filters) == len(before) + 1
    await backend.aclose()
    assert logger.filters == before


def _texts(files):
    return [(path.name, path.read_bytes().decode("latin-1")) for path in files]
