"""Every way in which the tests' server fails, through the real backend, and through the engine where that decides."""

import asyncio
import base64
import logging

import pytest

from ants_engine import errors
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.request import Request
from ants_engine.learning.answers import judge_caption
from ants_engine.protocol import Decoding
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings
from tests.integration.faulty_server import FAULTS, KINDS, question_of, right_answer
from tests.support.left_behind import everything
from tests.support.pictures import call, picture
from tests.support.process import WAIT, faulty_server

KEY = "a-very-private-key"

BY_THE_BACKEND = {
    "429-bare": (errors.RateLimitError, "slow down"),
    "429-seconds": (errors.RateLimitError, "slow down"),
    "429-date": (errors.RateLimitError, "slow down"),
    "429-duration": (errors.RateLimitError, "slow down"),
    "429-ms": (errors.RateLimitError, "slow down"),
    "500": (errors.BackendUnavailableError, "HTTP 500): oops"),
    "502": (errors.BackendUnavailableError, "HTTP 502): bad gateway"),
    "503": (errors.OverloadedError, "HTTP 503): overloaded"),
    "503-seconds": (errors.OverloadedError, "HTTP 503): overloaded"),
    "503-html": (errors.OverloadedError, "HTTP 503)"),
    "503-large": (errors.OverloadedError, "HTTP 503)"),
    "503-gzip": (errors.OverloadedError, "HTTP 503)"),
    "408": (errors.BackendUnavailableError, "try again"),
    "reset": (errors.BackendUnavailableError, "closed the connection"),
    "cut": (errors.BackendUnavailableError, "closed the connection"),
    "short": (errors.BackendUnavailableError, "closed the connection"),
    "hang": (errors.BackendTimeoutError, "no answer in time"),
    "500-echo": (errors.BackendUnavailableError, "failed on"),
    "429-quota": (errors.QuotaError, "you have spent it all"),
    "400": (errors.BadRequestError, "cannot take this"),
    "400-echo": (errors.BadRequestError, "cannot take"),
    "401": (errors.AuthenticationError, "mllm.api_key_env"),
    "403": (errors.AuthenticationError, "not you"),
    "404": (errors.BadRequestError, "The model `tiny` does not exist"),
    "413": (errors.BadRequestError, "mllm.image_max_side"),
    "422": (errors.BadRequestError, "Unexpected fields"),
    "307": (errors.BadRequestError, "redirects"),
    "invalid-json": (errors.ProtocolError, "cannot be parsed"),
    "text": (errors.ProtocolError, "hello"),
    "html": (errors.ProtocolError, "Log in to this network"),
    "wrong-list": (errors.ProtocolError, "no choices"),
    "wrong-shape": (errors.ProtocolError, "no text"),
    "null": (errors.ProtocolError, "no choices"),
    "no-message": (errors.ProtocolError, "no text"),
    "bare-message": (errors.ProtocolError, "no text"),
    "no-choices": (errors.ProtocolError, "no choices"),
    "nested": (errors.ProtocolError, "cannot be parsed"),
    "long-number": (errors.ProtocolError, "cannot be parsed"),
    "answer-echo": (errors.ProtocolError, "repeats the request"),
    "gzip": (errors.ProtocolError, "compressed"),
    "bomb": (errors.ProtocolError, "compressed"),
    "large": (errors.ProtocolError, "response is too long: OversizedBodyError 100"),
    "endless": (errors.ProtocolError, "response is too long: OversizedBodyError more than 4194304"),
    "endless-headers": (errors.ProtocolError, "headers are too long"),
    "refusal": (errors.RefusedAnswerError, "I'd rather not"),
    "filter-stop": (errors.RefusedAnswerError, "content filter"),
    "filtered": (errors.RefusedAnswerError, "not this"),
}

BY_THE_ENGINE = {
    "drip": (errors.BackendTimeoutError, "no answer within"),
    "endless-interim": (errors.BackendTimeoutError, "no answer within"),
    "none": (errors.EmptyAnswerError, "nothing"),
    "blank": (errors.EmptyAnswerError, "nothing"),
    "length": (errors.TruncatedAnswerError, "cut off"),
    "refusal-text": (errors.RefusedAnswerError, ""),
}

SHORT = 3.0
"""Seconds for an answer that never comes; any other may take its time."""

TREE = {
    "rate limit": errors.RateLimitError,
    "transient": errors.TransientBackendError,
    "final": errors.FinalBackendError,
    "unusable": errors.UnusableAnswerError,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "server.log"
    with faulty_server(log, "--retry-after", "90", "--hang", f"{WAIT}") as server:
        yield server


@pytest.fixture
async def backend(server, monkeypatch, request):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    hangs = "hang" in request.node.name
    options = OpenAIOptions(model=server.model, base_url=server.base_url, timeout=SHORT if hangs else WAIT)
    backend = OpenAIBackend(options)
    yield backend
    await backend.aclose()


def test_no_fault_is_left_out():
    tables = BY_THE_BACKEND | BY_THE_ENGINE
    assert set(tables) == set(FAULTS)
    for kind, (expected, _) in tables.items():
        assert next(ending for ending, tree in TREE.items() if issubclass(expected, tree)) == KINDS[kind]


@pytest.mark.parametrize("kind", BY_THE_BACKEND)
async def test_what_the_backend_makes_of_it(backend, server, caplog, kind):
    expected, says = BY_THE_BACKEND[kind]
    caplog.set_level(logging.DEBUG)
    shown = picture()
    asked = call(f"{kind} or not", shown)
    before = server.attempts(question_of(asked.prompt, shown.data))
    with pytest.raises(errors.BackendError) as caught:
        await backend.generate(asked)
    error = caught.value
    assert type(error) is expected
    assert says in str(error)
    assert len(str(error)) < 600
    assert str(error).isprintable()
    assert error.__cause__ is error.__context__ is None
    assert server.attempts(question_of(asked.prompt, shown.data)) == before + 1, "nothing is retried here"
    left = "\n".join([everything(error), caplog.text, repr(backend.__dict__)])
    assert "HTTP Request: POST" in left or kind in {"reset", "hang", "endless-headers"}, "the client's log is looked at"
    assert KEY not in left
    assert base64.b64encode(shown.data).decode()[:40] not in left
    assert (await backend.generate(call("right", shown))).text == right_answer(question_of("right", shown.data))


@pytest.mark.parametrize("kind", BY_THE_ENGINE)
async def test_what_the_engine_makes_of_it(server, kind):
    expected, says = BY_THE_ENGINE[kind]
    limit = SHORT if expected is errors.BackendTimeoutError else WAIT
    settings = Settings(
        mllm=MLLMSettings.model_validate({"backend": "openai", "model": "tiny", "base_url": server.base_url}),
        dispatch=DispatchSettings(mode="live", attempts=1, attempt_timeout=limit, runs=None),
    )
    async with Coordinator(settings) as coordinator:
        request = Request(
            task="ens", template="ens/v1", template_sha256="ab" * 32, prompt=f"{kind} please",
            identity=coordinator.identity, decoding=Decoding(8), judge=judge_caption,
        )  # fmt: skip
        outcome = await coordinator.submit(request)
    assert type(outcome.error) is expected
    assert says in str(outcome.error)
    assert server.attempts(request.prompt) == 1


@pytest.mark.parametrize(
    ("kind", "least"), [("seconds", 90), ("date", 80), ("duration", 90), ("ms", 90), ("bare", None)]
)
async def test_a_rate_limit_carries_the_servers_wish(backend, kind, least):
    with pytest.raises(errors.RateLimitError) as caught:
        await backend.generate(call(f"429-{kind}"))
    wish = caught.value.retry_after
    assert wish is None if least is None else least <= wish <= 91


async def test_so_does_an_overloaded_server(backend):
    with pytest.raises(errors.OverloadedError) as caught:
        await backend.generate(call("503-seconds"))
    assert caught.value.retry_after == 90.0


async def test_nothing_strays(backend, server):
    """A redirect is not followed: the key and the picture go where the user said."""
    server.reset()
    with pytest.raises(errors.BadRequestError):
        await backend.generate(call("307"))
    assert server.counts()["by_ending"] == {"307": 1}


async def test_failures_at_once_are_told_apart(backend, server):
    """Right answers and failures on the same connections: each question gets its own."""
    asked = [f"{kind} {n}" for n in range(4) for kind in ("right", "slow", "500", "cut", "400", "503-large", "none")]

    async def ask(prompt):
        try:
            return (await backend.generate(call(prompt))).text
        except errors.BackendError as error:
            return type(error)

    found = dict(zip(asked, await asyncio.gather(*map(ask, asked)), strict=True))
    for prompt, answer in found.items():
        kind = prompt.split()[0]
        if KINDS[kind] == "right":
            assert answer == right_answer(prompt)
        else:
            assert answer == ("" if kind == "none" else BY_THE_BACKEND[kind][0])
