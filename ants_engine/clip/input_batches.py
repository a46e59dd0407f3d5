"""Preprocessed pictures as one batch on the device that encodes them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class InputBatches:
    """Stacks inputs and moves them; on CUDA from pinned memory, without waiting, and with the channels last."""

    def __init__(self, device: str, dtype: "torch.dtype") -> None:
        """Say where to.

        Args:
            device: a torch device string.
            dtype: the model's input precision.
        """
        import torch

        self._device = device
        self._dtype = dtype
        self._cuda = device.startswith("cuda")
        self._format = torch.channels_last if self._cuda else torch.contiguous_format

    def move(self, inputs: Sequence["torch.Tensor"]) -> "torch.Tensor":
        """Return (n, 3, H, W) of n inputs, each float32 (3, H, W), n at least 1."""
        import torch

        # a fresh pinned buffer per batch: torch's allocator hands one out again only when its copy has been made
        batch = torch.empty(len(inputs), *inputs[0].shape, dtype=inputs[0].dtype, pin_memory=self._cuda)
        torch.stack(list(inputs), out=batch)
        moved = batch.to(self._device, non_blocking=self._cuda)
        return moved.to(self._dtype, memory_format=self._format)
