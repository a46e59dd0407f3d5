"""The openai backend against a real HTTP server in a process of its own."""

import asyncio
import base64
import json
import logging
import traceback
import urllib.request

import pytest
from pydantic import ValidationError

from ants_engine import errors
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.protocol import Answer
from tests.support.pictures import call, picture
from tests.support.process import chat_server

KEY = "a-very-private-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with chat_server(tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server


@pytest.fixture
async def backend(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = OpenAIBackend(OpenAIOptions(model=server.model, base_url=server.base_url, timeout=20))
    yield backend
    await backend.aclose()


def seen(server):
    with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/seen") as response:
        return json.load(response)


async def echo(backend, prompt="echo", shown=None):
    said = json.loads((await backend.generate(call(prompt, shown))).text)
    return said["body"], said["authorization"]


async def test_right_and_slow(backend):
    expected = Answer(text="a red ball", finish_reason="stop", prompt_tokens=7, completion_tokens=3)
    assert await backend.generate(call("right")) == expected
    assert await backend.generate(call("slow", picture())) == expected


async def test_a_question_without_a_picture(backend, server):
    body, authorization = await echo(backend, "echo this")
    assert body == {
        "model": server.model,
        "messages": [{"role": "user", "content": "echo this"}],
        "max_tokens": 8,
        "temperature": 0.0,
    }
    assert authorization == f"Bearer {KEY}"


async def test_a_question_with_a_picture(backend):
    shown = picture()
    (image, text) = (await echo(backend, "echo this", shown))[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "echo this"}
    prefix, _, data = image["image_url"].pop("url").partition(",")
    assert (prefix, base64.b64decode(data)) == ("data:image/png;base64", shown.data)
    assert image == {"type": "image_url", "image_url": {}}


async def test_options_reach_the_server(server, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", " other ")
    options = OpenAIOptions(
        model="m", base_url=server.base_url, api_key_env="OTHER_KEY", detail="low", send_temperature=False,
        limit_parameter="max_completion_tokens", extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )  # fmt: skip
    backend = OpenAIBackend(options)
    body, authorization = await echo(backend, shown=picture())
    await backend.aclose()
    assert authorization == "Bearer other"
    assert body["messages"][0]["content"][0]["image_url"]["detail"] == "low"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_completion_tokens"] == 8
    assert not {"temperature", "max_tokens", "extra_body"} & set(body)


async def test_a_server_of_ones_own_needs_no_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))
    assert (await echo(backend))[1] == "Bearer none"
    await backend.aclose()


async def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model="m"))
    with pytest.raises(errors.AuthenticationError, match="OPENAI_API_KEY"):
        await backend.generate(call())
    await backend.aclose()


async def test_the_usual_variable_names_the_address(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model="m"))
    assert "max_tokens" in (await echo(backend))[0]
    await backend.aclose()


@pytest.mark.parametrize(
    ("behaviour", "expected", "says"),
    [
        ("reset", errors.BackendUnavailableError, "hung up"),
        ("cut", errors.BackendUnavailableError, "hung up"),
        ("500", errors.BackendUnavailableError, "HTTP 500): oops"),
        ("503-html", errors.BackendUnavailableError, "HTTP 503)"),
        ("429-bare", errors.RateLimitError, "slow down"),
        ("429-quota", errors.QuotaError, "you have spent it all"),
        ("401", errors.AuthenticationError, "mllm.api_key_env"),
        ("404", errors.BadRequestError, "The model `tiny` does not exist"),
        ("422", errors.BadRequestError, "Unexpected fields"),
        ("307", errors.BadRequestError, "redirects"),
        ("400-echo", errors.BadRequestError, "cannot take"),
        ("filtered", errors.RefusedAnswerError, "not this"),
        ("invalid-json", errors.ProtocolError, "cannot be read"),
        ("text", errors.ProtocolError, "hello"),
        ("wrong-list", errors.ProtocolError, "no choices"),
        ("wrong-shape", errors.ProtocolError, "no text"),
        ("no-message", errors.ProtocolError, "no text"),
        ("no-choices", errors.ProtocolError, "no choices"),
        ("refusal", errors.RefusedAnswerError, "I'd rather not"),
        ("filter-stop", errors.RefusedAnswerError, "content filter"),
    ],
)
async def test_failures(backend, server, caplog, behaviour, expected, says):
    caplog.set_level(logging.DEBUG)
    before = seen(server).count(behaviour)
    shown = picture()
    with pytest.raises(errors.BackendError) as caught:
        await backend.generate(call(behaviour, shown))
    error = caught.value
    assert type(error) is expected
    assert says in str(error)
    assert len(str(error)) < 600
    assert seen(server).count(behaviour) == before + 1, "nothing is retried here"
    left = "".join(traceback.format_exception(error)) + caplog.text + repr(backend.__dict__)
    assert KEY not in left
    assert base64.b64encode(shown.data).decode()[:40] not in left
    assert error.__cause__ is None
    assert error.__context__ is None
    assert (await backend.generate(call("right"))).text == "a red ball"


async def test_a_server_that_hangs(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url, timeout=0.3))
    with pytest.raises(errors.BackendTimeoutError, match="no answer in time"):
        await backend.generate(call("hang"))
    await backend.aclose()


async def test_rate_limit_carries_the_servers_wish(backend):
    with pytest.raises(errors.RateLimitError) as caught:
        await backend.generate(call("429"))
    assert caught.value.retry_after == 90.0


async def test_an_empty_answer_is_left_to_the_engine(backend):
    assert (await backend.generate(call("none"))).text == ""


async def test_an_answer_that_was_cut_says_so(backend):
    assert await backend.generate(call("length")) == Answer("a red", "length", 7, 3)


async def test_nobody_there(unused_tcp_port):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1"))
    with pytest.raises(errors.BackendUnavailableError, match=f"http://127.0.0.1:{unused_tcp_port}: .*ConnectError"):
        await backend.generate(call())
    await backend.aclose()


async def test_calls_overlap_up_to_the_limit(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url, max_concurrency=20))
    await backend.generate(call("right"))
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(backend.generate(call("slow")) for _ in range(20)))
    took = asyncio.get_running_loop().time() - began
    await backend.aclose()
    assert took < 20 * 0.2 / 2


async def test_cancelling_ends_one_call(backend):
    hanging = asyncio.create_task(backend.generate(call("hang")))
    right = asyncio.create_task(backend.generate(call("slow")))
    await asyncio.sleep(0.05)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert (await right).text == "a red ball"


def test_one_backend_serves_one_loop_after_another(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))

    async def main(last):
        answer = await backend.generate(call("right"))
        if last:
            await backend.aclose()
        return answer.text

    assert [asyncio.run(main(last)) for last in (False, True)] == ["a red ball"] * 2


async def test_closed(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))
    await backend.generate(call("right"))
    await backend.aclose()
    await backend.aclose()
    with pytest.raises(errors.UsageError, match="closed"):
        await backend.generate(call("right"))


async def test_identity_names_no_address(server):
    plain = await OpenAIBackend(OpenAIOptions(model="m")).identity()
    assert plain == await OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url, timeout=3)).identity()
    assert plain == {"backend": "openai", "model": "m", "detail": "auto"}
    others = [{"detail": "low"}, {"extra_body": {"top_k": 1}}, {"send_temperature": False}]
    names = {str(await OpenAIBackend(OpenAIOptions(model="m", **other)).identity()) for other in others}
    assert len(names | {str(plain)}) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m", "base_url": "localhost:8000"}, "http://"),
        ({"model": "m", "base_url": "http://me:secret@host/v1"}, "api_key_env"),
        ({"model": "m", "extra_body": {"stream": True}}, "stream"),
        ({"model": "m", "detail": "most"}, "detail"),
        ({"model": "m", "api_key": "x"}, "api_key"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(ValidationError, match=says):
        OpenAIOptions(**options)
