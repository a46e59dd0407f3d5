"""Batches of CLIP inputs from data loaders: checked, encoded, and converted back to pictures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.clip.encoding import Encoder, encoder_lock
from ants_engine.errors import FeatureError

_OUTSIDE = 0.25
"""Tolerance of samples outside [0, 1], since interpolation overshoots; beyond it the normalisation is another one."""


class InputEncoder:
    """CLIP's image tower as a function of tensors."""

    def __init__(self, encoder: Encoder) -> None:
        """Wrap a loaded CLIP model."""
        self._encoder = encoder

    def __call__(self, x: Tensor) -> Tensor:
        """Encode preprocessed pictures.

        Args:
            x: (B, 3, H, W) of any float dtype on any device, as ``ants.encoder.preprocess`` makes them.

        Returns:
            Float32 (B, D), L2-normalised, on the device of ``x``.

        Raises:
            FeatureError: ``x`` has another shape or dtype, or holds numbers that are not finite.
            UsageError: the detector was made from features and has no CLIP.
        """
        inputs = check_inputs(x, self._encoder)
        with encoder_lock(self._encoder):
            return self._encoder.encode_inputs(inputs.unbind()).to(x.device)


def check_inputs(x: Any, encoder: Encoder) -> Tensor:
    """Return preprocessed pictures (B, 3, H, W) as float32 on the CPU.

    Raises:
        FeatureError: another shape than this CLIP's, no float dtype, or no tensor at all.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise FeatureError(f"pictures are {kind}; a float tensor (B, 3, H, W) of CLIP inputs is needed")
    size = _preprocessing(encoder).get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else x.shape[-2:]
    if x.ndim != 4 or tuple(x.shape[1:]) != (3, height, width):
        raise FeatureError(
            f"pictures have shape {tuple(x.shape)}; this CLIP takes (B, 3, {height}, {width}): "
            "let the data set transform them with ants.encoder.preprocess"
        )
    return x.detach().to(device="cpu", dtype=torch.float32)


def pictures_of(inputs: Tensor, encoder: Encoder) -> Iterator[NDArray[np.uint8]]:
    """Invert CLIP's normalisation, so that an MLLM can be shown what CLIP sees.

    Preprocessing such a picture again gives the same input, bit for bit.

    Args:
        inputs: checked (B, 3, H, W).
        encoder: whose preprocessing made them.

    Returns:
        An iterator over B arrays (H, W, 3).

    Raises:
        FeatureError: this encoder's normalisation is unknown, or the inputs have another one.
    """
    found = _preprocessing(encoder)
    if "mean" not in found or "std" not in found:
        raise FeatureError("this encoder does not say how it normalises pictures, so they cannot be shown to the MLLM")
    mean, std = (torch.tensor(found[key], dtype=torch.float32).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    samples = inputs * std + mean
    if len(samples) and not (float(samples.min()) >= -_OUTSIDE and float(samples.max()) <= 1 + _OUTSIDE):
        raise FeatureError(
            f"these inputs are not normalised as this CLIP's are (mean {found['mean']}, std {found['std']}): "
            "let the data set transform pictures with ants.encoder.preprocess"
        )
    whole = (samples.clamp(0, 1) * 255).round().to(torch.uint8)
    return iter(whole.permute(0, 2, 3, 1).contiguous().numpy())


def loader_pictures(batches: Iterable[Any], encoder: Encoder) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of a data loader whose batches are ``x``, ``(x, labels, …)`` or ``{"data": x, …}``.

    Labels are ignored.

    Raises:
        FeatureError: the inputs do not fit this CLIP.
    """
    for batch in batches:
        x = batch["data"] if isinstance(batch, dict) else batch[0] if isinstance(batch, (list, tuple)) else batch
        yield from pictures_of(check_inputs(x, encoder), encoder)


def _preprocessing(encoder: Encoder) -> Mapping[str, Any]:
    found = encoder.identity.get("preprocess")
    return found if isinstance(found, dict) else {}
