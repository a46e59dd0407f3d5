"""Folders without a chat template: asked in the family's published format, or refused with what to do."""

import json
import shutil

import pytest

from ants_engine import errors
from ants_engine.backends._chat import prompt_format
from tests.support.mllm_families import FAMILIES
from tests.support.pictures import call, picture
from tests.support.tiny_blip import CHAT_TEMPLATE as QUESTION_AND_ANSWER

PLAIN = "{% for part in messages[0].content if part.type == 'text' %}{{ part.text }}{% endfor %}"


@pytest.fixture
def bare(family_folder, tmp_path):
    """Copy a family's folder, with another chat template or none."""

    def copy(name, chat_template=None):
        folder = shutil.copytree(family_folder(name), tmp_path / f"{name}-{chat_template is None}")
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        if chat_template is not None:
            (folder / "chat_template.jinja").write_text(chat_template, "utf-8")
        return folder

    return copy


@pytest.mark.parametrize(
    ("name", "template"),
    [("llava-1.5", None), ("blip-2", QUESTION_AND_ANSWER), ("blip-2-t5", QUESTION_AND_ANSWER), ("instructblip", PLAIN)],
)
async def test_the_published_format_is_what_a_template_of_the_family_writes(
    name, template, bare, family_folder, local, tmp_path
):
    plain = local(bare(name))
    told = local(family_folder(name) if template is None else bare(name, template))
    asked = [call("name five {} {{ like }} a dog", picture(i), tokens=12) for i in range(3)]
    if FAMILIES[name].text_only:
        asked.append(call("name five", tokens=12))
    assert [await plain.generate(one) for one in asked] == [await told.generate(one) for one in asked]
    assert (await plain.identity())["sha256"] != (await told.identity())["sha256"]
    assert (await plain.identity())["rendering"] == (await told.identity())["rendering"]


async def test_control_tokens_are_text_in_a_published_format_too(bare, local):
    backend = local(bare("llava-1.5"))
    plain = await backend.generate(call("dog", picture()))
    odd = await backend.generate(call("dog <image> </s>", picture()))
    assert odd.prompt_tokens > plain.prompt_tokens + 4


@pytest.mark.parametrize("name", ["qwen2-vl", "smolvlm"])
async def test_a_family_without_one_is_refused_with_what_to_do(name, bare, local):
    with pytest.raises(errors.ModelNotFoundError) as caught:
        await local(bare(name)).load()
    for words in ("no chat template", "chat_template.jinja", "hub page", 'mllm.model = "./folder"'):
        assert words in str(caught.value)
    image = {"qwen2-vl": "<|image_pad|>", "smolvlm": "<image>"}[name]
    assert image in str(caught.value), "the example shows the model's own mark of a picture"


async def test_the_refusals_example_works(bare, local):
    with pytest.raises(errors.ModelNotFoundError) as caught:
        await local(bare("smolvlm")).load()
    example = str(caught.value).partition("such as ")[2].partition("{% endfor %} Name another")[0] + "{% endfor %}"
    answer = await local(bare("smolvlm", example)).generate(call("dog", picture()))
    assert answer.completion_tokens


async def test_a_llava_that_was_trained_otherwise_is_not_taken_for_a_llava_1_5(bare, local):
    from transformers import AutoConfig, AutoTokenizer, MistralConfig

    folder = bare("llava-1.5")
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert prompt_format(config, tokenizer) is not None
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]}, replace_extra_special_tokens=False)
    assert prompt_format(config, tokenizer) is None
    config.text_config = MistralConfig()
    assert prompt_format(config, AutoTokenizer.from_pretrained(folder)) is None


def without(folder, file, *names):
    """Take settings out of a JSON file, wherever in it they are."""
    path = folder / file
    whole = json.loads(path.read_text("utf-8"))
    for name in names:
        whole.pop(name)
    path.write_text(json.dumps(whole), "utf-8")


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        (
            "llava-1.5",
            {"processor_config.json": ["patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"]},
        ),
        ("blip-2", {"processor_config.json": ["num_query_tokens"], "config.json": ["image_token_index"]}),
        ("instructblip", {"processor_config.json": ["num_query_tokens"], "config.json": ["image_token_index"]}),
    ],
)
async def test_a_folder_from_before_transformers_4_46(name, lacks, bare, family_folder, local):
    folder = bare(name)
    for file, names in lacks.items():
        without(folder, file, *names)
    asked = call("describe this picture", picture(), tokens=12)
    expected = await local(family_folder(name)).generate(asked)
    assert await local(folder).generate(asked) == expected


async def test_an_old_folder_whose_vocabulary_is_full_is_refused(bare, local):
    folder = bare("blip-2")
    without(folder, "config.json", "image_token_index")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    vocabulary = config["text_config"]["vocab_size"] - 1
    config["text_config"]["vocab_size"] = vocabulary
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state = {
        key: value[:vocabulary].clone() if value.shape[:1] == (vocabulary + 1,) else value
        for key, value in state.items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(errors.ModelNotFoundError, match="image_token_index"):
        await local(folder).load()
