"""open_clip's transformers without the work that does not reach the feature.

A feature is read at one position. In the last block no position depends on another one's output any more, so all other
positions need only their keys and values there: that saves a twelfth of a tower of twelve blocks, less its attention.
A causal text tower needs no padding behind the position that is read.
"""

import copy
from typing import Any, cast

import torch
from torch import nn

from ants_engine.common.row_blocks import filled

LEAST_ROWS = 4
"""Fewest rows of a matrix product: with fewer, other kernels give other last bits."""


def is_plain(block: Any) -> bool:
    """Return whether `read_at` supports this block: it must be open_clip's own self-attention block."""
    from open_clip.transformer import ResidualAttentionBlock

    return type(block) is ResidualAttentionBlock and block.attn.batch_first and not hasattr(block, "ln_1_kv")


def read_at(block: Any, x: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Compute one position per row of a plain block's output.

    Args:
        block: see `is_plain`.
        x: (n, L, W), the block's input.
        positions: int64 (n,), which position of each row.
        mask: (L, L), added to the attention's logits, or None.

    Returns:
        (n, W): ``block(x, attn_mask=mask)[range(n), positions]`` up to the last bits. Where n is below `LEAST_ROWS`,
        the first row is repeated, and the caller cuts those rows off at its end.
    """
    x, positions = filled(x, LEAST_ROWS), filled(positions, LEAST_ROWS)
    rows = torch.arange(len(x), device=x.device)
    seen = block.ln_1(x)
    # one query per row; attention takes a row's mask once per head
    own = None if mask is None else mask[positions][:, None].repeat_interleave(block.attn.num_heads, dim=0)
    query = seen[rows, positions][:, None]
    read = x[rows, positions][:, None] + block.ls_1(block.attention(query, seen, seen, attn_mask=own))
    found: torch.Tensor = read + block.ls_2(block.mlp(block.ln_2(read)))
    return found[:, 0]


# ---- image tower -----------------------------------------------------------------------------------------------------


class ClassTokenTower:
    """open_clip's vision transformer with the last block computed at the class token only."""

    way = "last block at the class token"
    """How it differs from the model's own computation; part of the encoder's identity."""

    # torch's modules are not typed by their attributes
    def __init__(self, tower: Any) -> None:
        *blocks, last = tower.transformer.resblocks

        class AtClassToken(nn.Module):
            def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:
                return read_at(last, x, torch.zeros(len(x), dtype=torch.int64, device=x.device), attn_mask)[:, None]

        # a shallow copy that shares every other part; the model itself is not changed
        short = nn.ModuleList([*blocks, AtClassToken()])
        self._twin = _with(tower, transformer=_with(tower.transformer, resblocks=short))

    @classmethod
    def of(cls, model: object) -> "ClassTokenTower | None":
        """Return the tower of an open_clip model; None for other kinds of tower (timm, ResNet, pooled, CoCa)."""
        from open_clip.model import CLIP, CustomTextCLIP
        from open_clip.transformer import Transformer, VisionTransformer

        visual = cast("Any", model).visual
        if type(model) not in (CLIP, CustomTextCLIP) or type(visual) is not VisionTransformer:
            return None
        if visual.attn_pool is not None or visual.pool_type != "tok" or visual.output_tokens:
            return None
        transformer = visual.transformer
        return cls(visual) if type(transformer) is Transformer and is_plain(transformer.resblocks[-1]) else None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Encode (n, 3, H, W) to features (n, D), not normalised, in the model's own precision."""
        features: torch.Tensor = self._twin(images)
        return features[: len(images)]


def _with(module: Any, **parts: Any) -> Any:
    """Return a shallow copy of a module with some parts replaced."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **parts}
    return twin


# ---- text tower ------------------------------------------------------------------------------------------------------


class CausalTextTower:
    """open_clip's causal text transformer without padding.

    The feature is read at one position, and later positions cannot influence it, so the caller may cut them off. A
    plain last block is computed at that position only.
    """

    # torch's modules are not typed by their attributes
    def __init__(self, tower: Any, pool: str, end_id: int | None) -> None:
        self._tower = tower
        self._pool = pool
        self._end_id = end_id
        self.last_block_at_the_end = is_plain(tower.transformer.resblocks[-1])
        """Whether the last block is computed only at the position that is read."""
        self.way = "without padding" + (" and last block at the end" if self.last_block_at_the_end else "")
        """How it differs from the model's own computation; part of the encoder's identity."""

    @classmethod
    def of(cls, model: object) -> "CausalTextTower | None":
        """Return the tower of an open_clip model; None if it needs its padding (not causal, Hugging Face, CoCa)."""
        from open_clip.model import CLIP, CustomTextCLIP
        from open_clip.transformer import TextTransformer

        kind, whole = type(model), cast("Any", model)
        if kind is CLIP:
            tower, pool, end_id = whole, whole.text_pool_type, whole.text_eos_id
        elif kind is CustomTextCLIP and type(whole.text) is TextTransformer:
            tower = whole.text
            if tower.cls_emb is not None or tower.use_pad_mask or tower.output_tokens:
                return None
            pool, end_id = tower.pool_type, tower.eos_id
        else:
            return None
        if tower.attn_mask is None or pool not in ("argmax", "eos"):
            return None
        return cls(tower, pool, end_id)

    def positions(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the position that is read of each text: int64 (K,) for int64 tokens (K, L)."""
        if self._pool == "argmax":
            return tokens.argmax(dim=-1)
        return tokens.eq(-1 if self._end_id is None else self._end_id).int().argmax(dim=-1)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode int64 tokens (K, L) to features (K, D), not normalised, in the model's own precision.

        All L positions are computed; cut the tokens after the last of `positions` beforehand.
        """
        tower = self._tower
        read = self.positions(tokens)
        length = tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
        mask = tower.attn_mask[:length, :length]
        pooled: torch.Tensor = tower.ln_final(self._through(x, mask, read))
        projection = tower.text_projection
        if projection is None:
            return pooled[: len(tokens)]
        features: torch.Tensor = projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
        return features[: len(tokens)]

    def _through(self, x: torch.Tensor, mask: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Run (K, L, W) through all blocks; return (K, W) or a few rows more, the positions that are read."""
        transformer = self._tower.transformer
        if not self.last_block_at_the_end:
            whole: torch.Tensor = transformer(x, attn_mask=mask)
            return whole[torch.arange(len(x), device=x.device), read]
        *blocks, last = transformer.resblocks
        for block in blocks:
            x = block(x, attn_mask=mask)
        return read_at(last, x, read, mask)
