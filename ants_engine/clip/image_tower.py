"""Encoding pictures without what the last block computes and nobody reads, where the vision tower allows it."""

import copy
from typing import TYPE_CHECKING, Any, cast

from ants_engine.clip.last_block import is_plain, read_at

if TYPE_CHECKING:
    import torch


class ClassTokenTower:
    """open_clip's own vision transformer, read at its class token; the last block is computed there only."""

    way = "last block at the class token"
    """How it differs from the model's own way."""

    # torch's modules are not typed by their attributes
    def __init__(self, tower: Any) -> None:
        import torch
        from torch import nn

        *blocks, last = tower.transformer.resblocks

        class AtClassToken(nn.Module):
            def forward(self, x: "torch.Tensor", attn_mask: "torch.Tensor | None" = None) -> "torch.Tensor":
                return read_at(last, x, torch.zeros(len(x), dtype=torch.int64, device=x.device), attn_mask)[:, None]

        # a twin that shares every other part: the model itself stays as it is
        short = nn.ModuleList([*blocks, AtClassToken()])
        self._twin = _with(tower, transformer=_with(tower.transformer, resblocks=short))

    @classmethod
    def of(cls, model: object) -> "ClassTokenTower | None":
        """Give the tower of an open_clip model; ``None`` for any other kind of tower (timm, ResNet, pooled, CoCa)."""
        from open_clip.model import CLIP, CustomTextCLIP
        from open_clip.transformer import Transformer, VisionTransformer

        visual = cast(Any, model).visual
        if type(model) not in (CLIP, CustomTextCLIP) or type(visual) is not VisionTransformer:
            return None
        if visual.attn_pool is not None or visual.pool_type != "tok" or visual.output_tokens:
            return None
        transformer = visual.transformer
        return cls(visual) if type(transformer) is Transformer and is_plain(transformer.resblocks[-1]) else None

    def __call__(self, images: "torch.Tensor") -> "torch.Tensor":
        """Encode (n, 3, H, W) to features (n, D), not normalised, in the model's own precision."""
        features: torch.Tensor = self._twin(images)
        return features[: len(images)]


def _with(module: Any, **parts: Any) -> Any:
    """Give a copy of a module that shares all its parts but these."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin
