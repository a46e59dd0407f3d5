"""One suite for every family of local models: a real folder, tiny and of random weights, to answers."""

import asyncio
import functools
import shutil
import threading
import time
import weakref

import pytest
import torch

from ants_engine import errors
from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from tests.support.mllm_families import FAMILIES
from tests.support.pictures import call, picture

SIZES = [(40, 40), (1, 1), (448, 1), (1, 448), (448, 448), (64, 20), (90, 100)]
PROMPTS = ["wolf", "describe the picture in one short sentence .", "name five things that look like a small red bird"]


@pytest.fixture(params=FAMILIES, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def family(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(name, family_folder):
    return family_folder(name)


@pytest.fixture(scope="module")
def backend(folder):
    """One backend for all tests of a family that do not wear it out; it serves one event loop after another."""
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(folder), device="cpu", batch_size=8))
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def batches(family, monkeypatch):
    """Sizes of the batches that reach the model."""
    sizes = []
    generate = family.patched().generate

    @functools.wraps(generate)
    def counted(self, **inputs):
        sizes.append(len(inputs["input_ids"]))
        return generate(self, **inputs)

    monkeypatch.setattr(family.patched(), "generate", counted)
    return sizes


async def same_together_and_alone(backend, asked):
    together = await asyncio.gather(*(backend.generate(one) for one in asked))
    alone = [await backend.generate(one) for one in asked]
    assert together == alone
    # A model that answers all with the same words would make this no test.
    assert len({answer.text for answer in together}) > len(asked) // 2
    assert all(answer.completion_tokens for answer in together)


async def test_pictures_of_any_shape_with_prompts_of_any_length(backend, batches):
    asked = [call(PROMPTS[i % 3], picture(i, size), tokens=10) for i, size in enumerate(SIZES)]
    await same_together_and_alone(backend, asked)
    assert batches == [7] + [1] * 7


async def test_what_a_picture_shows_matters(backend):
    shown = [call("describe", picture(seed, (60, 60)), tokens=10) for seed in range(4)]
    assert len({answer.text for answer in await asyncio.gather(*map(backend.generate, shown))}) > 1


async def test_questions_without_a_picture(backend, folder, family, batches, local):
    assert local(folder).capabilities.text_only == family.text_only, "known before anything is loaded"
    asked = [call(prompt, tokens=10) for prompt in PROMPTS]
    if family.text_only:
        await same_together_and_alone(backend, asked)
        assert batches == [3, 1, 1, 1]
        return
    outcomes = await asyncio.gather(*map(backend.generate, asked), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [errors.BadRequestError] * 3
    assert "cannot be asked without a picture" in str(outcomes[0])
    assert batches == []
    assert (await backend.generate(call("dog", picture()))).text, "the next question is answered"
    assert not backend.capabilities.text_only


async def test_out_of_memory_halves_the_batch_and_frees_what_it_held(folder, family, batches, local, monkeypatch):
    backend = local(folder, batch_size=8)
    asked = [call(PROMPTS[i % 3], picture(i, size), tokens=6) for i, size in enumerate(SIZES)]
    expected = [await backend.generate(one) for one in asked]
    held: list[weakref.ref] = []
    still_there = []
    generate = family.patched().generate

    @functools.wraps(generate)
    def small(self, **inputs):
        still_there.append(sum(one() is not None for one in held))
        held.clear()
        if len(inputs["input_ids"]) > 2:
            output = generate(self, **inputs)
            held.extend(weakref.ref(tensor) for tensor in (output, *inputs.values()) if torch.is_tensor(tensor))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return generate(self, **inputs)

    monkeypatch.setattr(family.patched(), "generate", small)
    batches.clear()
    assert await asyncio.gather(*map(backend.generate, asked)) == expected
    assert batches == [7, 4, 2, 2, 2, 1]
    assert len(still_there) == 6
    assert not any(still_there), "nothing of a batch that failed is held while the next one runs"
    batches.clear()
    assert await asyncio.gather(*map(backend.generate, asked)) == expected
    assert batches == [2, 2, 2, 1], "what did not fit is not tried again"


@pytest.fixture
def steps(family, monkeypatch):
    """Make each token take a while, and count them."""
    from transformers import LogitsProcessorList

    counted = []
    process = LogitsProcessorList.__call__

    def slow(self, input_ids, scores, **more):
        counted.append(1)
        time.sleep(0.01)
        scores = process(self, input_ids, scores, **more)
        ends = torch.zeros_like(scores, dtype=torch.bool)
        ends[:, 300] = True  # it goes on and on
        return scores.masked_fill(~ends, -1e9)

    monkeypatch.setattr(LogitsProcessorList, "__call__", slow)
    return counted


async def test_a_question_that_nobody_waits_for_ends(backend, steps):
    await backend.load()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(backend.generate(call(shown=picture(), tokens=300)), 0.2)
    await backend.generate(call(shown=picture(), tokens=1))
    assert 1 < len(steps) < 100


async def test_closing_in_mid_answer_leaves_no_thread(folder, steps, local):
    before = {thread for thread in threading.enumerate() if thread.name.startswith("ants-huggingface")}
    backend = local(folder)
    running = asyncio.create_task(backend.generate(call(shown=picture(), tokens=300)))
    while not steps:
        await asyncio.sleep(0.01)
    await backend.aclose()
    assert len(steps) < 100
    assert {thread for thread in threading.enumerate() if thread.name.startswith("ants-huggingface")} == before
    with pytest.raises(errors.UsageError, match="closed"):
        await running


async def test_the_identity_is_the_folders_content(backend, folder, local, tmp_path):
    elsewhere = local(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert await backend.identity() == await elsewhere.identity()
    assert str(tmp_path) not in str(await elsewhere.identity())
