"""What the openai backend finds out before anything is asked: by the server's list of models."""

import socket

import pytest
from pydantic import ValidationError

from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.errors import AuthenticationError, BackendUnavailableError, BadRequestError
from ants_engine.protocol import CheckableBackend
from tests.support.left_behind import everything
from tests.support.models_server import ModelsServer, failed, listing, said

KEY = "a-very-private-key"
NO_MODEL = failed(404, "The model `qwen` does not exist.")
REFUSED = failed(401, "Incorrect API key provided")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


async def check(url, model="qwen", **options):
    backend = OpenAIBackend(OpenAIOptions(model=model, base_url=url, **options))
    assert isinstance(backend, CheckableBackend)
    try:
        await backend.check()
    finally:
        await backend.aclose()


async def test_a_closed_port_is_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(BackendUnavailableError, match="cannot be reached"):
            await check(url)


@pytest.mark.parametrize("listed", [listing("other", "qwen"), listing("qwen:latest")])
async def test_a_listed_model_costs_no_question(listed):
    with ModelsServer(listed, said("hello")) as server:
        await check(server.url)
    assert (server.looked, server.asked) == (1, [])


@pytest.mark.parametrize("chat", [NO_MODEL, failed(400, "Invalid model name passed in model=qwen")])
async def test_a_model_that_neither_list_nor_chat_knows(chat):
    said_so = r"'qwen'; did you mean qwen2-vl\? It has: qwen2-vl, llava"
    with ModelsServer(listing("qwen2-vl", "llava"), chat) as server, pytest.raises(BadRequestError, match=said_so):
        await check(server.url)
    assert [body["max_tokens"] for body in server.asked] == [1]


@pytest.mark.parametrize("chat", [said("yes"), failed(400, "a picture is needed"), failed(503, "loading model")])
async def test_a_server_that_takes_any_name_passes(chat):
    with ModelsServer(listing("/models/qwen2-vl.gguf"), chat) as server:
        await check(server.url)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "listed",
    [
        failed(404, "no such route"), failed(501, "Unsupported method"), failed(500, "x"), failed(503, "loading"),
        failed(429, "slow down"), failed(403, "missing scope"), (200, b"<html>"), (200, {"data": None}), (200, []),
        (200, {"data": [{"id": 3}, "x"]}), listing(),
    ],
)  # fmt: skip
async def test_a_server_without_a_list_passes(listed):
    with ModelsServer(listed, NO_MODEL) as server:
        await check(server.url)
    assert server.asked == []


async def test_an_address_that_lacks_its_v1_is_found_without_a_question():
    lacks = r"`mllm.base_url` lacks its /v1; write http://127.0.0.1:\d+/v1$"
    for end in ("", "/"):
        with ModelsServer(listing("qwen"), said("hello")) as server, pytest.raises(BadRequestError, match=lacks):
            await check(server.url.removesuffix("/v1") + end)
        assert server.asked == []


@pytest.mark.parametrize("end", ["/chat/completions", "/chat/completions/"])
def test_an_address_with_the_path_of_questions_is_told_so(end):
    with pytest.raises(ValidationError, match="leave out /chat/completions"):
        OpenAIOptions(model="m", base_url=f"http://localhost:8000/v1{end}")


async def test_a_list_that_does_not_come_passes():
    with ModelsServer(listing("qwen"), said("hello")) as server:
        server.hang.clear()
        await check(server.url, timeout=0.2)


async def test_a_refused_key_is_found_and_kept_secret():
    refused = pytest.raises(AuthenticationError, match="key was refused")
    with ModelsServer(REFUSED, REFUSED) as server, refused as caught:
        await check(server.url)
    assert KEY not in everything(caught.value)


async def test_a_key_that_may_ask_and_not_list_passes():
    with ModelsServer(failed(401, "Missing scopes: api.model.read"), said("yes")) as server:
        await check(server.url)
    assert len(server.asked) == 1


async def test_a_missing_key_is_found_without_a_connection(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(AuthenticationError, match="OPENAI_API_KEY"):
        await check(None)
