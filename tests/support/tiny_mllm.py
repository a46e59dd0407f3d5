"""What the makers of tiny models share: a trained tokenizer, weights that make answers differ, a folder to load."""

from pathlib import Path
from typing import Any

CORPUS = """
red green blue yellow grey white black small large round square striped dotted old new dog fox wolf cat lion tiger bird
owl crow duck fish shark tree leaf rock sand cloud star moon sun car bus boat plane ball box cup a an the of on in and
with looks like describe name five what is this picture USER: ASSISTANT: Question: Answer: user assistant system
You are a helpful assistant. Describe the picture in one short sentence. Name five things that look like a wolf.
"""
SPREAD = 0.25
"""Standard deviation of the weights: as drawn by transformers, a tiny model hardly reacts to its input."""


def byte_level_bpe(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train GPT-2's kind of tokenizer: ids of its tokens, ``specials`` first, and its merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + 256 + 80,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _trained(tokenizer, trainer)


def byte_fallback_bpe(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Train LLaMA's kind of tokenizer: ids of its tokens, ``specials`` and the bytes first, and its merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + 256 + 130, special_tokens=[*specials, *every_byte], show_progress=False
    )
    return _trained(tokenizer, trainer)


def _trained(tokenizer: Any, trainer: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    tokenizer.train_from_iterator([CORPUS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def save_folder(
    folder: Path,
    config: Any,
    processor: Any,
    *,
    chat_template: str | None,
    eos: int | list[int],
    pad: int,
    seed: int = 0,
) -> Path:
    """Write a model of random weights, its processor and its chat template as a transformers folder."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, SPREAD)
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = pad
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, "utf-8")
    return folder
