"""The CLIP of the world: its configuration, and how it is stored as an open_clip folder."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from words import CONTEXT, END, PAD

SIDE = 64
"""Side of the picture that the image tower reads."""

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


def model_config(vocabulary: int) -> dict[str, Any]:
    """The open_clip model configuration."""
    return {
        "embed_dim": 192,
        "vision_cfg": {"image_size": SIDE, "layers": 6, "width": 256, "head_width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "local",
            "width": 128,
            "heads": 2,
            "layers": 3,
            "pad_id": PAD,
            "eos_id": END,
            "pool_type": "eos",
        },
    }


def new_model(vocabulary: int, patch_dropout: float = 0.0) -> CLIP:
    """An untrained CLIP whose image tower drops a share of the patches in training."""
    config = copy.deepcopy(model_config(vocabulary))
    config["vision_cfg"]["patch_dropout"] = patch_dropout
    return CLIP(**config)


def normalised(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as the image tower wants them."""
    return (pictures - MEAN[0]) / STD[0]


def store(model: CLIP, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as an open_clip folder, replacing what was there only when all of it is written."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tokenizer.save_pretrained(part)
    config = {
        "model_cfg": model_config(len(tokenizer)),
        "preprocess_cfg": {
            "size": [SIDE, SIDE],
            "mean": MEAN,
            "std": STD,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (part / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {
        name: value.detach().to(torch.float16).contiguous() if name != "logit_scale" else value.detach().clone()
        for name, value in model.state_dict().items()
    }
    save_file(weights, part / "open_clip_model.safetensors", metadata={"format": "pt"})
    folder.mkdir(exist_ok=True)
    for path in part.iterdir():
        path.chmod(0o644)
        path.replace(folder / path.name)
    part.rmdir()
