"""The huggingface backend with a real model, tiny and of random weights."""

import asyncio
import functools
import logging
import shutil
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from ants_engine import errors
from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from ants_engine.protocol import Call, Decoding, Picture
from tests.support.pictures import call, picture
from tests.support.process import WAIT
from tests.support.tiny_llava import save_tiny_llava

SIZES = [(40, 40), (64, 20), (20, 64), (7, 7), (100, 90)]


@pytest.fixture
async def backend(llava):
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu", batch_size=4))
    yield backend
    await backend.aclose()


@pytest.fixture
def generated(monkeypatch):
    """Sizes of the batches that reach the model."""
    from transformers import LlavaForConditionalGeneration

    sizes = []
    generate = LlavaForConditionalGeneration.generate

    def counted(self, **inputs):
        sizes.append(len(inputs["input_ids"]))
        return generate(self, **inputs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "generate", counted)
    return sizes


async def test_a_batch_answers_as_single_calls_do(backend, generated):
    asked = [call("describe this picture", picture(i, size)) for i, size in enumerate(SIZES)]
    asked += [call("name five small red things like this", picture(9)), call("what", picture(9))]
    asked += [call("name five like a dog"), call("wolf"), call("what is a round box ? name five")]
    together = await asyncio.gather(*(backend.generate(one) for one in asked))
    assert generated == [4, 3, 3]
    alone = [await backend.generate(one) for one in asked]
    assert together == alone
    assert len({answer.text for answer in together}) == len(asked)


async def test_tokens_are_counted_per_question(backend):
    short, long, shown = await asyncio.gather(
        backend.generate(call("dog")), backend.generate(call("name five dog")), backend.generate(call("dog", picture()))
    )
    assert long.prompt_tokens == short.prompt_tokens + 2
    assert shown.prompt_tokens == short.prompt_tokens + 4  # four patches
    assert short.completion_tokens == 8


async def test_length_and_stop(backend):
    asked = [call("describe this picture", picture(i, (30 + 7 * i, 40)), tokens=30) for i in range(8)]
    answers = await asyncio.gather(*(backend.generate(one) for one in asked))
    stopped = [(one, answer) for one, answer in zip(asked, answers, strict=True) if answer.finish_reason == "stop"]
    assert stopped
    for one, answer in stopped:
        assert 1 < answer.completion_tokens < 30
        cut = await backend.generate(Call(one.prompt, one.picture, Decoding(answer.completion_tokens - 1)))
        assert cut.finish_reason == "length"
        assert cut.completion_tokens == answer.completion_tokens - 1
        assert answer.text.startswith(cut.text)
        # The last token that fits may be the one that ends the answer.
        exact = await backend.generate(Call(one.prompt, one.picture, Decoding(answer.completion_tokens)))
        assert exact == answer
    assert all("</s>" not in answer.text and "<pad>" not in answer.text for answer in answers)


async def test_temperature_samples(backend):
    warm = Call("name five", picture(), Decoding(max_new_tokens=12, temperature=1.5))
    cold = Call("name five", picture(), Decoding(max_new_tokens=12))
    texts = {answer.text for answer in await asyncio.gather(*(backend.generate(warm) for _ in range(8)))}
    assert len(texts) > 1
    assert len({(await backend.generate(cold)).text for _ in range(2)}) == 1


async def test_control_tokens_in_a_prompt_are_text(backend):
    plain, odd = await asyncio.gather(
        backend.generate(call("describe", picture())),
        backend.generate(call("describe <image> </s> <assistant>", picture())),
    )
    assert odd.prompt_tokens > plain.prompt_tokens + 3
    assert plain == await backend.generate(call("describe", picture()))


@pytest.mark.parametrize("data", [b"", b"no picture", picture().data[:60]])
async def test_a_broken_picture_costs_its_own_answer(backend, data):
    broken = Picture(data=data, media_type="image/png", sha256="0" * 64, width=4, height=4)
    good, bad = await asyncio.gather(
        backend.generate(call(shown=picture())), backend.generate(call(shown=broken)), return_exceptions=True
    )
    assert good == await backend.generate(call(shown=picture()))
    assert isinstance(bad, errors.BadRequestError)
    assert "0" * 12 in str(bad)


async def test_out_of_memory_halves_and_goes_on(backend, generated, monkeypatch):
    from transformers import LlavaForConditionalGeneration

    asked = [call(shown=picture(i)) for i in range(4)]
    expected = [await backend.generate(one) for one in asked]
    forward = LlavaForConditionalGeneration.forward

    @functools.wraps(forward)
    def small(self, *args, **inputs):
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, *args, **inputs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", small)
    generated.clear()
    assert await asyncio.gather(*(backend.generate(one) for one in asked)) == expected
    assert generated == [4, 2, 2]
    generated.clear()
    assert await asyncio.gather(*(backend.generate(one) for one in asked)) == expected
    assert generated == [2, 2], "what did not fit once is not tried again"


async def test_out_of_memory_for_one_question_says_what_to_do(backend, monkeypatch):
    from transformers import LlavaForConditionalGeneration

    @functools.wraps(LlavaForConditionalGeneration.forward)
    def none(self, **_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", none)
    outcomes = await asyncio.gather(
        *(backend.generate(call(shown=picture(i))) for i in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [errors.BadRequestError] * 3
    assert "image_max_side" in str(outcomes[0])


async def test_a_question_that_the_model_cannot_take_costs_its_own_answer(backend, monkeypatch):
    from transformers import LlavaForConditionalGeneration

    forward = LlavaForConditionalGeneration.forward

    @functools.wraps(forward)
    def picky(self, *args, **inputs):
        if inputs["input_ids"].shape[1] > 20:
            raise IndexError("index out of range in self")
        return forward(self, *args, **inputs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", picky)
    good, bad = await asyncio.gather(
        backend.generate(call("dog", tokens=2)), backend.generate(call("dog " * 30, tokens=2)), return_exceptions=True
    )
    assert good.completion_tokens == 2
    assert isinstance(bad, errors.BadRequestError)
    assert "IndexError: index out of range" in str(bad)


async def test_a_model_that_needs_pictures(backend, monkeypatch):
    from transformers import LlavaForConditionalGeneration

    forward = LlavaForConditionalGeneration.forward

    @functools.wraps(forward)
    def needs_picture(self, *args, **inputs):
        if inputs["input_ids"].shape[1] > 1 and inputs.get("pixel_values") is None:
            raise ValueError("You have to specify pixel_values")
        return forward(self, *args, **inputs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", needs_picture)
    with pytest.raises(errors.BadRequestError, match="pixel_values"):
        await backend.generate(call("dog"))


async def test_cancelling_one_caller_leaves_the_batch_alone(backend):
    await backend.load()
    asked = [call(shown=picture(i), tokens=40) for i in range(3)]
    expected = await asyncio.gather(*(backend.generate(one) for one in asked))
    tasks = [asyncio.create_task(backend.generate(one)) for one in asked]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert [outcomes[0], outcomes[2]] == [expected[0], expected[2]]


@pytest.fixture
def endless(monkeypatch):
    """A model that takes a while for each token; counts them."""
    from transformers import LlavaForConditionalGeneration

    forward = LlavaForConditionalGeneration.forward
    steps = []

    @functools.wraps(forward)
    def slow(self, *args, **inputs):
        steps.append(1)
        time.sleep(0.02)
        output = forward(self, *args, **inputs)
        output.logits[..., :4] = -1e9  # never ends by itself
        return output

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", slow)
    return steps


async def test_a_batch_that_nobody_waits_for_ends(backend, endless):
    await backend.load()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(backend.generate(call(tokens=200)), 0.1)
    await backend.generate(call(tokens=1))
    assert len(endless) < 50


def ours():
    return sum(thread.name.startswith("ants-") for thread in threading.enumerate())


def all_gone(before):
    while set(threading.enumerate()) - before - {threading.current_thread()}:
        time.sleep(0.01)


async def test_closing_ends_what_runs_and_joins_the_thread(llava, endless):
    before = set(threading.enumerate())
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    await backend.load()
    assert ours() == 1
    running = asyncio.create_task(backend.generate(call(tokens=200)))
    await asyncio.sleep(0.1)
    await asyncio.gather(backend.aclose(), backend.aclose())
    assert len(endless) < 50
    assert ours() == 0
    # The loader's own threads are on their way out.
    await asyncio.wait_for(asyncio.to_thread(all_gone, before), WAIT)
    with pytest.raises(errors.UsageError, match="closed"):
        await running
    with pytest.raises(errors.UsageError, match="closed"):
        await backend.generate(call())
    with pytest.raises(errors.UsageError, match="closed"):
        await backend.identity()


def test_one_backend_serves_one_loop_after_another(llava):
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    answers = [asyncio.run(backend.generate(call())) for _ in range(2)]
    assert answers[0] == answers[1]
    asyncio.run(backend.aclose())


async def test_the_loop_stays_free_while_it_loads_and_answers(llava, endless):
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    task = asyncio.create_task(backend.generate(call(tokens=10)))
    longest, before = 0.0, time.perf_counter()
    started = before
    while not task.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    whole = before - started
    await backend.aclose()
    assert len(endless) == 10
    # Python's lock is shared with the thread, so some delay is the machine's.
    assert longest < max(0.5, whole / 4)


async def test_it_is_loaded_once(llava, monkeypatch):
    from transformers import AutoModelForImageTextToText

    loads = []
    load = AutoModelForImageTextToText.from_pretrained

    def counted(*args, **options):
        loads.append(1)
        return load(*args, **options)

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", counted)
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    await backend.identity()
    assert not loads
    await asyncio.gather(*(backend.generate(call(f"dog {i}", tokens=1)) for i in range(20)))
    await backend.aclose()
    assert len(loads) == 1


async def test_nothing_is_said_and_the_users_settings_stay(llava, tmp_path, capfd, caplog, monkeypatch):
    from transformers.utils import logging as settings

    root = logging.getLogger("transformers")
    monkeypatch.setattr(root, "propagate", True)
    before = (root.level, settings.is_progress_bar_enabled(), [list(handler.filters) for handler in root.handlers])
    assert settings.is_progress_bar_enabled()
    capfd.readouterr()
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu"))
    await asyncio.gather(*(backend.generate(call(shown=picture(i))) for i in range(3)))
    await backend.generate(Call("dog", None, Decoding(max_new_tokens=4, temperature=0.7)))
    await backend.aclose()
    missing = HuggingFaceBackend(HuggingFaceOptions(model=str(broken(llava, tmp_path, "model.safetensors"))))
    with pytest.raises(errors.ModelNotFoundError):
        await missing.load()
    await missing.aclose()
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    after = (root.level, settings.is_progress_bar_enabled(), [list(handler.filters) for handler in root.handlers])
    assert after == before


async def test_identity(llava, tmp_path):
    async def identity(**options):
        backend = HuggingFaceBackend(HuggingFaceOptions(**options))
        try:
            return await backend.identity()
        finally:
            await backend.aclose()

    here = await identity(model=str(llava), device="cpu")
    elsewhere = await identity(model=str(shutil.copytree(llava, tmp_path / "copy")), device="cpu", batch_size=1)
    other = await identity(model=str(save_tiny_llava(tmp_path / "other", seed=1)), device="cpu")
    rougher = await identity(model=str(llava), device="cpu", dtype="bf16")
    assert here == elsewhere
    assert len({str(one) for one in (here, other, rougher)}) == 3
    assert here["backend"] == "huggingface"
    assert here["dtype"] == "fp32"
    assert str(llava.parent) not in str(here)


async def test_bf16(llava):
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(llava), device="cpu", dtype="bf16"))
    answer = await backend.generate(call(shown=picture()))
    await backend.aclose()
    assert answer.completion_tokens


def broken(llava, tmp_path, *without):
    folder = shutil.copytree(llava, tmp_path / "broken")
    for name in without:
        (folder / name).unlink()
    return folder


async def refused(folder, kind=errors.ModelNotFoundError, **options):
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(folder), **options))
    try:
        with pytest.raises(kind) as first:
            await backend.generate(call())
        began = time.process_time()
        with pytest.raises(kind) as second:
            await backend.generate(call())
        assert time.process_time() - began < 0.5, "a failure to load is remembered"
    finally:
        await backend.aclose()
    assert str(first.value) == str(second.value)
    return str(first.value)


async def test_no_chat_template(llava, tmp_path):
    assert "no chat template" in await refused(broken(llava, tmp_path, "chat_template.jinja"))


async def test_a_chat_template_that_drops_the_text(tmp_path):
    folder = save_tiny_llava(tmp_path / "mute", chat_template="{{ '<user> hello </s>' }}")
    assert "drops the user's text" in await refused(folder)


async def test_a_chat_template_for_plain_strings(tmp_path):
    template = (
        "{% for message in messages %}<user> "
        "{% if message['content'] is string %}{{ message['content'] }}{% endif %} </s> {% endfor %}"
    )
    folder = save_tiny_llava(tmp_path / "plain", chat_template=template)
    backend = HuggingFaceBackend(HuggingFaceOptions(model=str(folder), device="cpu"))
    answer = await backend.generate(call("name five dog"))
    with pytest.raises(errors.BadRequestError, match="takes no pictures"):
        await backend.generate(call("name five dog", picture()))
    await backend.aclose()
    assert answer.prompt_tokens == 5


async def test_missing_weights(llava, tmp_path):
    assert "cannot be loaded" in await refused(broken(llava, tmp_path, "model.safetensors"))


async def test_damaged_weights(llava, tmp_path):
    folder = broken(llava, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in await refused(folder)


async def test_incomplete_weights(llava, tmp_path):
    folder = broken(llava, tmp_path)
    weights = load_file(folder / "model.safetensors")
    dropped = sorted(weights)[0]
    weights.pop(dropped)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 of its weights" in await refused(folder)


async def test_no_processor(llava, tmp_path):
    said = await refused(broken(llava, tmp_path, "processor_config.json"))
    assert "processor" in said


async def test_a_text_model_is_none_of_ours(tmp_path):
    from transformers import LlamaConfig

    LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "llama")
    assert "cannot be loaded" in await refused(tmp_path / "llama")


async def test_a_device_that_does_not_exist(llava):
    assert "mllm.device" in await refused(llava, errors.SettingError, device="warp")
