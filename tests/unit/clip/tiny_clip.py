"""Tiny open_clip models in local-dir form: real architecture, seeded random weights."""

import json
from pathlib import Path
from typing import Any

import torch

from ants_engine.clip.model import CONFIG_NAME

WORDS = [
    "a",
    "an",
    "the",
    "of",
    "and",
    "on",
    "in",
    "photo",
    "nice",
    "cat",
    "dog",
    "bird",
    "car",
    "red",
    "blue",
    "green",
    "big",
    "small",
    "house",
    "tree",
    "water",
    "sky",
    ".",
    "!",
]

MODEL_CFG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 40,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "hf_tokenizer_name": "own",
    },
}

PREPROCESS_CFG = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "shortest",
}


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer whose end mark has the highest id, as open_clip's argmax pooling expects."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {"<pad>": 0, "<unk>": 1} | {word: i + 2 for i, word in enumerate(WORDS)}
    vocab |= {"<start>": 38, "<end>": 39}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 38), ("<end>", 39)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>"
    ).save_pretrained(folder)


def write_model(folder: Path, *, seed: int = 0, preprocess: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a local-dir model; ``changes`` go into its config, those for ``text_cfg`` are merged."""
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {**MODEL_CFG, **changes, "text_cfg": MODEL_CFG["text_cfg"] | changes.get("text_cfg", {})}
    whole = {"model_cfg": config, "preprocess_cfg": PREPROCESS_CFG if preprocess is None else preprocess}
    (folder / CONFIG_NAME).write_text(json.dumps(whole), "utf-8")
    write_tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arguments = {key: value for key, value in config.items() if key != "custom_text"}
        model = (CustomTextCLIP if config.get("custom_text") else CLIP)(**arguments)
        # as drawn, the towers hardly react to their input
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "logit" not in name:
                parameter.data = torch.randn_like(parameter) * 0.15
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder
