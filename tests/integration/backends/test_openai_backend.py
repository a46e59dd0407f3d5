"""The openai backend against a real HTTP server in a process of its own."""

import asyncio
import base64
import time

import pytest
from pydantic import ValidationError

from ants_engine import errors
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.protocol import Answer
from tests.integration.faulty_server import question_of, right_answer
from tests.support.left_behind import everything
from tests.support.pictures import call, picture
from tests.support.process import WAIT, faulty_server

KEY = "a-very-private-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with faulty_server(tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server


@pytest.fixture
async def backend(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    backend = OpenAIBackend(OpenAIOptions(model=server.model, base_url=server.base_url, timeout=WAIT))
    yield backend
    await backend.aclose()


async def sent(server, backend, prompt="right", shown=None):
    """Ask, and give what the server got: the body, and the headers."""
    await backend.generate(call(prompt, shown))
    last = server.last()
    return last["body"], last["headers"]


def right(prompt, shown=None):
    """The answer that the server gives to this question and to no other."""
    text = right_answer(question_of(prompt, None if shown is None else shown.data))
    return Answer(text=text, finish_reason="stop", prompt_tokens=7, completion_tokens=3)


async def test_right_and_slow(backend):
    assert await backend.generate(call("right")) == right("right")
    assert await backend.generate(call("slow", picture())) == right("slow", picture())
    assert await backend.generate(call("wrong-type")) == right("wrong-type")


async def test_a_question_without_a_picture(backend, server):
    body, headers = await sent(server, backend, "right this")
    assert body == {
        "model": server.model,
        "messages": [{"role": "user", "content": "right this"}],
        "max_tokens": 8,
        "temperature": 0.0,
    }
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept-encoding"] == "identity"


async def test_a_question_with_a_picture(backend, server):
    shown = picture()
    (image, text) = (await sent(server, backend, "right this", shown))[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "right this"}
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
    body, headers = await sent(server, backend, shown=picture())
    await backend.aclose()
    assert headers["authorization"] == "Bearer other"
    assert body["messages"][0]["content"][0]["image_url"]["detail"] == "low"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["max_completion_tokens"] == 8
    assert not {"temperature", "max_tokens", "extra_body"} & set(body)


async def test_a_server_of_ones_own_needs_no_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))
    assert (await sent(server, backend))[1]["authorization"] == "Bearer none"
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
    assert "max_tokens" in (await sent(server, backend))[0]
    await backend.aclose()


@pytest.mark.parametrize("address", ["localhost:8000", "http://", "http://[::1", "http://me:secret@host/v1"])
async def test_an_address_in_that_variable_that_is_none(monkeypatch, address):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    backend = OpenAIBackend(OpenAIOptions(model="m"))
    with pytest.raises(errors.SettingError, match="OPENAI_BASE_URL: ") as caught:
        await backend.generate(call())
    assert "secret" not in str(caught.value)
    await backend.aclose()


@pytest.mark.parametrize("key", ["a-private\nkey", "a-private-kéy"])
async def test_a_key_that_cannot_be_sent(server, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))
    with pytest.raises(errors.AuthenticationError, match="OPENAI_API_KEY holds an invalid character") as caught:
        await backend.generate(call())
    assert "private" not in everything(caught.value)
    await backend.aclose()


async def test_a_proxy_of_the_environment_is_used(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url="http://somewhere.invalid/v1"))
    assert (await backend.generate(call("right"))).text == right("right").text
    with pytest.raises(errors.ProtocolError, match="response is too long"):
        await backend.generate(call("endless"))
    await backend.aclose()


async def test_no_cookie_is_kept(server, backend):
    await backend.generate(call("cookie"))
    assert "cookie" not in (await sent(server, backend))[1]


async def test_a_server_that_hangs(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url, timeout=0.3))
    with pytest.raises(errors.BackendTimeoutError, match="no answer in time"):
        await backend.generate(call("hang"))
    await backend.aclose()


async def test_nobody_there(unused_tcp_port):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1"))
    with pytest.raises(errors.BackendUnavailableError, match=f"http://127.0.0.1:{unused_tcp_port}: .*ConnectError"):
        await backend.generate(call())
    await backend.aclose()


async def test_calls_overlap_as_far_as_the_engine_lets_them(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url, max_concurrency=2))
    server.reset()
    server.hold()
    asked = [asyncio.create_task(backend.generate(call("right"))) for _ in range(20)]
    deadline = time.monotonic() + WAIT
    while server.counts()["in_flight"] < 20 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    server.release()
    await asyncio.gather(*asked)
    await backend.aclose()
    assert server.counts()["max_in_flight"] == 20


async def test_cancelling_ends_one_call(backend, server):
    server.reset()
    hanging = asyncio.create_task(backend.generate(call("hang", picture())))
    while not server.counts()["in_flight"]:
        await asyncio.sleep(0.02)
    slow = asyncio.create_task(backend.generate(call("slow")))
    await asyncio.sleep(0.05)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await hanging
    # the client's frames hold the request
    shown = everything(caught.value)
    assert "base64" not in shown
    assert KEY not in shown
    assert (await slow).text == right("slow").text


def test_one_backend_serves_one_loop_after_another(server):
    backend = OpenAIBackend(OpenAIOptions(model="m", base_url=server.base_url))

    async def main(last):
        answer = await backend.generate(call("right"))
        if last:
            await backend.aclose()
        return answer.text

    assert [asyncio.run(main(last)) for last in (False, True)] == [right("right").text] * 2


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
