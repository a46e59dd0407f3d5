"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL: one tokenizer and chat format, pictures of any shape."""

from pathlib import Path
from typing import Any

from tests.support.tiny_mllm import byte_level_bpe, save_folder

CHAT_TEMPLATE = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' ~ message.role ~ '\n' }}"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = [
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
HEADS, HEAD, PATCH = 2, 16, 14
TEXT = {
    "hidden_size": HEADS * HEAD, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "max_position_embeddings": 2048,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0}


def _tokenizer() -> Any:
    from transformers import Qwen2Tokenizer

    vocab, merges = byte_level_bpe([])
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIALS, "eos_token": "<|im_end|>"})
    return tokenizer


def _save(folder: Path, config: Any, processor: Any, *, chat_template: str | None, seed: int) -> Path:
    ids = processor.tokenizer.convert_tokens_to_ids
    eos = [ids("<|im_end|>"), ids("<|endoftext|>")]
    return save_folder(
        folder, config, processor, chat_template=chat_template, eos=eos, pad=ids("<|endoftext|>"), seed=seed
    )


def _tokens(tokenizer: Any) -> dict[str, int]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


def _text(tokenizer: Any) -> dict[str, Any]:
    ids = tokenizer.convert_tokens_to_ids
    return TEXT | {
        "vocab_size": len(tokenizer), "bos_token_id": ids("<|endoftext|>"), "eos_token_id": ids("<|im_end|>"),
        "rope_parameters": ROPE,
    }  # fmt: skip


def _pictures(patch: int) -> Any:
    from transformers import Qwen2VLImageProcessor

    side = 2 * patch
    size = {"shortest_edge": side * side * 2, "longest_edge": side * side * 16}
    return Qwen2VLImageProcessor(patch_size=patch, merge_size=2, temporal_patch_size=2, size=size)


def save_tiny_qwen2_vl(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write the folder."""
    from transformers import Qwen2VLConfig, Qwen2VLProcessor, Qwen2VLVideoProcessor

    tokenizer = _tokenizer()
    config = Qwen2VLConfig(
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH,
        },
        text_config=_text(tokenizer),
        **_tokens(tokenizer),
    )  # fmt: skip
    processor = Qwen2VLProcessor(_pictures(PATCH), tokenizer, Qwen2VLVideoProcessor())
    return _save(folder, config, processor, chat_template=chat_template, seed=seed)


def save_tiny_qwen2_5_vl(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write the folder."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLProcessor, Qwen2VLVideoProcessor

    tokenizer = _tokenizer()
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": PATCH,
            "out_hidden_size": 32, "window_size": 4 * PATCH, "fullatt_block_indexes": [1],
        },
        text_config=_text(tokenizer),
        **_tokens(tokenizer),
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(_pictures(PATCH), tokenizer, Qwen2VLVideoProcessor())
    return _save(folder, config, processor, chat_template=chat_template, seed=seed)


def save_tiny_qwen3_vl(folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, seed: int = 0) -> Path:
    """Write the folder."""
    from transformers import Qwen3VLConfig, Qwen3VLProcessor, Qwen3VLVideoProcessor

    tokenizer = _tokenizer()
    config = Qwen3VLConfig(
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
            "out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        text_config=_text(tokenizer) | {"head_dim": HEAD},
        **_tokens(tokenizer),
    )  # fmt: skip
    processor = Qwen3VLProcessor(_pictures(16), tokenizer, Qwen3VLVideoProcessor())
    return _save(folder, config, processor, chat_template=chat_template, seed=seed)
