"""Tiny Idefics3 and SmolVLM: a picture is cut into tiles, so that its shape decides how many tokens it takes."""

from pathlib import Path
from typing import Any

from tests.support.tiny_mllm import byte_level_bpe, save_folder

CHAT_TEMPLATE = (
    "{{ '<|im_start|>' }}{% for message in messages %}{{ message.role | capitalize }}"
    "{{ ':' if message.content and message.content[0].type == 'image' else ': ' }}"
    "{% for part in message.content %}{% if part.type == 'image' %}{{ '<image>' }}"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
TILE, PATCH, SCALE = 32, 8, 2
TILES = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
    "<global-img>", *TILES,
]  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": TILE,
    "patch_size": PATCH,
}  # fmt: skip
SEQUENCE = (TILE // PATCH // SCALE) ** 2


def _tokenizer() -> Any:
    from transformers import GPT2Tokenizer

    vocab, merges = byte_level_bpe(SPECIALS)
    tokenizer = GPT2Tokenizer(
        vocab=vocab, merges=merges, bos_token="<|im_start|>", eos_token="<end_of_utterance>",
        unk_token="<|endoftext|>", pad_token="<|im_end|>",
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIALS[3:7]})
    tokenizer.add_tokens(TILES)
    return tokenizer


def _save(folder: Path, config_class: Any, processor: Any, *, chat_template: str | None, seed: int) -> Path:
    from transformers import LlamaConfig

    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=ids("<|im_start|>"),
        eos_token_id=ids("<end_of_utterance>"), pad_token_id=ids("<|im_end|>"),
    )  # fmt: skip
    config = config_class(
        vision_config=VISION, text_config=text, image_token_id=ids("<image>"), scale_factor=SCALE,
        pad_token_id=ids("<|im_end|>"),
    )  # fmt: skip
    return save_folder(
        folder, config, processor, chat_template=chat_template, eos=ids("<end_of_utterance>"), pad=ids("<|im_end|>"),
        seed=seed,
    )  # fmt: skip


def save_tiny_idefics3(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write the folder."""
    from transformers import Idefics3Config, Idefics3ImageProcessor, Idefics3Processor

    pictures = Idefics3ImageProcessor(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})
    processor = Idefics3Processor(pictures, _tokenizer(), image_seq_len=SEQUENCE)
    return _save(folder, Idefics3Config, processor, chat_template=chat_template, seed=seed)


def save_tiny_smolvlm(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write the folder. Needs num2words, as SmolVLM's processor does."""
    from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    pictures = SmolVLMImageProcessor(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE})
    videos = SmolVLMVideoProcessor(size={"longest_edge": TILE}, max_image_size={"longest_edge": TILE})
    processor = SmolVLMProcessor(pictures, _tokenizer(), videos, image_seq_len=SEQUENCE)
    return _save(folder, SmolVLMConfig, processor, chat_template=chat_template, seed=seed)
