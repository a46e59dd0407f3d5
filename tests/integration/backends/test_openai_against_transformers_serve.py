"""The openai backend against a real serving program: ``transformers serve`` with a tiny model."""

import asyncio
import time
from dataclasses import replace

import pytest

from ants_engine import errors
from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from tests.support.left_behind import everything
from tests.support.pictures import call, picture
from tests.support.process import WAIT, transformers_serve

CONTEXT = 256
"""Tokens that the tiny model was made for."""


@pytest.fixture(scope="module")
def server(llava, tmp_path_factory):
    with transformers_serve(llava, tmp_path_factory.mktemp("serve") / "serve.log") as server:
        yield server


@pytest.fixture
async def backend(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    backend = OpenAIBackend(OpenAIOptions(model=server.model, base_url=server.base_url))
    yield backend
    await backend.aclose()


async def test_served_and_local_answers_are_the_same(backend, llava):
    asked = [call("describe this picture", picture(i, size)) for i, size in enumerate([(40, 40), (64, 20), (7, 7)])]
    asked += [call("name five like a dog"), call("what is a wolf ?", tokens=3)]
    local = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    served = await asyncio.gather(*(backend.generate(one) for one in asked))
    expected = await asyncio.gather(*(local.generate(one) for one in asked))
    await local.aclose()
    assert [answer.text for answer in served] == [answer.text for answer in expected]
    assert [answer.completion_tokens for answer in served] == [answer.completion_tokens for answer in expected]
    assert served[-1].finish_reason == "length"


async def test_another_models_name_is_refused(server):
    backend = OpenAIBackend(OpenAIOptions(model="another", base_url=server.base_url))
    with pytest.raises(errors.BadRequestError, match="Server is pinned to 'tiny-llava'"):
        await backend.generate(call())
    await backend.aclose()


async def test_a_field_that_it_does_not_know_is_refused(server):
    options = OpenAIOptions(model=server.model, base_url=server.base_url, extra_body={"nonsense": 1})
    backend = OpenAIBackend(options)
    with pytest.raises(errors.BadRequestError, match="nonsense"):
        await backend.generate(call())
    await backend.aclose()


async def test_a_wrong_address_is_a_bad_request(server):
    backend = OpenAIBackend(OpenAIOptions(model=server.model, base_url=server.base_url.removesuffix("/v1") + "/v7"))
    with pytest.raises(errors.BadRequestError, match=r"mllm\.base_url"):
        await backend.generate(call())
    await backend.aclose()


async def test_a_picture_is_looked_at(backend):
    shown = [picture(number, (64, 64)) for number in range(3)]
    answers = await asyncio.gather(*(backend.generate(call("describe this picture", one)) for one in shown))
    again = await asyncio.gather(*(backend.generate(call("describe this picture", one)) for one in reversed(shown)))
    assert answers == list(reversed(again)), "each question gets its own answer"
    assert len({answer.text for answer in answers}) > 1


async def test_a_picture_that_is_none_is_its_own_failure(backend):
    broken = replace(picture(), data=b"\x89PNG but no more")
    with pytest.raises(errors.BackendError) as caught:
        await backend.generate(call("describe this picture", broken))
    assert "base64" not in everything(caught.value)
    # after a fault the program hangs up, a moment after it has answered
    deadline = time.monotonic() + WAIT
    while True:
        try:
            assert (await backend.generate(call("what is a wolf ?"))).text
            break
        except errors.BackendUnavailableError:
            # not yet
            assert time.monotonic() < deadline


async def test_a_prompt_beyond_the_models_context_is_answered_and_counted(backend):
    """This program does not refuse it. The count says so."""
    answer = await backend.generate(call("dog " * 600, tokens=2))
    assert answer.prompt_tokens is not None
    assert answer.prompt_tokens > CONTEXT
    assert answer.completion_tokens == 2


async def test_cancelling_ends_one_question_and_no_other(backend):
    long = asyncio.create_task(backend.generate(call("name five like a dog", tokens=1000)))
    short = asyncio.create_task(backend.generate(call("what is a wolf ?", tokens=3)))
    # it ends by itself after 97 tokens, which a fast machine has in a tenth of a second
    await asyncio.sleep(0.03)
    assert not long.done()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    assert (await short).completion_tokens == 3
    assert (await backend.generate(call("what is a wolf ?", tokens=3))) == await short


async def test_a_server_that_takes_too_long_is_a_timeout(server):
    backend = OpenAIBackend(OpenAIOptions(model=server.model, base_url=server.base_url, timeout=0.05))
    with pytest.raises(errors.BackendTimeoutError, match="no answer in time"):
        await backend.generate(call("name five like a dog", tokens=1000))
    await backend.aclose()
