"""A LLaVA of random weights, small enough to build and run in a moment; all of it is real but its size."""

from pathlib import Path

WORDS = """
red green blue yellow grey white black small large round square striped dotted old new dog fox wolf cat lion tiger bird
owl crow duck fish shark tree leaf rock sand cloud star moon sun car bus boat plane ball box cup a an the of on in and
with looks like describe name five what is this picture probe ants . , ?
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<user>' if message['role'] == 'user' else '<assistant>' }} "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image> {% endif %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }} {% endif %}{% endfor %}</s> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)

IMAGE_SIZE = 32
PATCH_SIZE = 16


def save_tiny_llava(folder: Path, *, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write model, tokenizer, processor and chat template as a transformers folder, the same for the same seed."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    specials = ["<pad>", "<unk>", "<s>", "</s>", "<image>", "<user>", "<assistant>"]
    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS.split()])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>", "<user>", "<assistant>"],
        model_max_length=256,
    )
    pictures = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    processor = LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        chat_template=chat_template,
        num_additional_image_tokens=1,
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
        ),
        text_config=LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            # Wider than usual, so that greedy answers differ between pictures and do not get stuck on one word.
            initializer_range=0.4,
            bos_token_id=vocabulary["<s>"],
            eos_token_id=vocabulary["</s>"],
            pad_token_id=vocabulary["<pad>"],
        ),
        image_token_index=vocabulary["<image>"],
        image_seq_length=(IMAGE_SIZE // PATCH_SIZE) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = vocabulary["</s>"]
    model.generation_config.pad_token_id = vocabulary["<pad>"]
    # What a published model brings along: sampling by default, which a greedy call must not follow.
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.2
    model.generation_config.top_k = 3
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
