"""Where a local model computes, and in what precision."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ants_engine.errors import SettingError

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model computes, and in what precision."""

    device: str
    precision: Literal["fp32", "bf16", "fp16"]


def place(device: str, precision: Precision) -> Placement:
    """Decide what ``auto`` means here: CUDA, then MPS, then the CPU; bf16 on CUDA, fp32 elsewhere.

    Raises:
        SettingError: torch knows no such device.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SettingError(f"mllm.device: torch knows no device {device!r}") from error
    if precision == "auto":
        precision = "bf16" if kind == "cuda" else "fp32"
    return Placement(device=device, precision=precision)
