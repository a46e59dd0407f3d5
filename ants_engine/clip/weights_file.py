"""A weights file, by the names of its tensors: they tell where it comes from before anything of it is used."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Three numbers that OpenAI's own checkpoints hold beside the weights. open_clip drops them from TorchScript archives
only, so that the same weights saved as safetensors or with ``torch.save`` would not fit."""


def tensor_names(weights: Path) -> frozenset[str]:
    """Read the names, not the numbers (blocking). Empty where that does not work: loading the file will say why."""
    try:
        if weights.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(weights, framework="pt") as file:
                return frozenset(file.keys())
        return frozenset(_pickled(weights, device="meta"))
    except Exception:  # damaged files raise what they like
        return frozenset()


def has_openai_marks(weights: Path) -> bool:
    """Tell whether the file was converted from OpenAI's own (blocking)."""
    return tensor_names(weights) >= OPENAI_MARKS


def without_openai_marks(weights: Path) -> "dict[str, torch.Tensor]":
    """Read a file that has the marks, and drop them (blocking)."""
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = _pickled(weights, device="cpu")
    return {name: tensor for name, tensor in state.items() if name not in OPENAI_MARKS}


def _pickled(weights: Path, device: str) -> "dict[str, torch.Tensor]":
    import torch

    whole = torch.load(weights, map_location=device, weights_only=True)
    state: dict[str, torch.Tensor] = whole.get("state_dict", whole)
    return state
