"""The openai backend against a real serving program: ``transformers serve`` with a tiny model."""

import asyncio

import pytest

from ants_engine import errors
from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from tests.support.pictures import call, picture
from tests.support.process import transformers_serve


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
