"""CLIP features from users: checked, normalised, moved to the CPU."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ants_engine.errors import FeatureError

UNIT_TOLERANCE = 1e-6
"""Tolerance of a normalised float32 row's length."""


def as_tensor(features: Any) -> Tensor:
    """Return features of any shape as a tensor.

    Raises:
        FeatureError: they are not an array of numbers.
    """
    if isinstance(features, Tensor):
        return features
    try:
        # a read-only array is copied: torch warns about sharing such memory
        array = np.require(features, requirements=["C", "W"])
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise FeatureError(f"features cannot be read as an array of numbers: {error}") from None


def check_features(features: Any, dim: int, ignore: Mapping[int, object] | None = None) -> Tensor:
    """Return features (N, D) as L2-normalised float32 on the CPU.

    Raises:
        FeatureError: wrong shape or dtype, NaN or infinite values, or an all-zero row; rows are named.
    """
    tensor = as_tensor(features)
    if tensor.ndim != 2 or tensor.shape[1] != dim:
        raise FeatureError(
            f"features have shape {tuple(tensor.shape)}; this detector's CLIP gives (N, {dim}), one row per picture"
        )
    if not tensor.is_floating_point():
        raise FeatureError(f"features are {tensor.dtype}; floating point features of CLIP's image encoder are needed")
    tensor = tensor.detach().to(device="cpu", dtype=torch.float32)
    if ignore:
        tensor = tensor.clone()
        tensor[list(ignore)] = 1.0
    length = torch.linalg.vector_norm(tensor, dim=1)
    bad = torch.nonzero(~torch.isfinite(length) | (length == 0)).flatten().tolist()
    if bad:
        raise FeatureError(f"features of {len(bad)} rows are NaN, infinite or all zero, first rows: {bad[:10]}")
    # a row already normalised to float32 precision is not changed, so that the engine's own features keep their bits
    length = torch.where((length - 1.0).abs() <= UNIT_TOLERANCE, 1.0, length)
    return torch.div(tensor, length[:, None])
