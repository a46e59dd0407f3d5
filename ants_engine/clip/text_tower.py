"""Encoding short texts without the padding behind them, where the text tower allows it."""

from typing import TYPE_CHECKING, Any, cast

from ants_engine.clip.last_block import is_plain, read_at

if TYPE_CHECKING:
    import torch


class CausalTextTower:
    """open_clip's own text transformer under a causal mask, run only as far as the position that is read.

    Such a tower reads one position per text, and nothing behind a position can change it, so that everything behind the
    position that is read may be cut off; the caller does that. Of a plain last block, only that position is computed.
    """

    # torch's modules are not typed by their attributes
    def __init__(self, tower: Any, pool: str, end_id: int | None) -> None:
        self._tower = tower
        self._pool = pool
        self._end_id = end_id
        self.last_block_at_the_end = is_plain(tower.transformer.resblocks[-1])
        """Whether the last block is computed only where it is read; one of another kind is computed whole."""
        self.way = "without padding" + (" and last block at the end" if self.last_block_at_the_end else "")
        """How it differs from the model's own way."""

    @classmethod
    def of(cls, model: object) -> "CausalTextTower | None":
        """Give the tower of an open_clip model; ``None`` if its padding must stay (not causal, Hugging Face, CoCa)."""
        from open_clip.model import CLIP, CustomTextCLIP
        from open_clip.transformer import TextTransformer

        kind, whole = type(model), cast(Any, model)
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

    def positions(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """Tell which position of each text is read: int64 (K,) for int64 tokens (K, L)."""
        if self._pool == "argmax":
            return tokens.argmax(dim=-1)
        return tokens.eq(-1 if self._end_id is None else self._end_id).int().argmax(dim=-1)

    def __call__(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """Encode int64 tokens (K, L) to features (K, D), not normalised, in the model's own precision.

        All L positions are computed; what lies behind the last one of `positions` may be cut off before.
        """
        import torch

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

    def _through(self, x: "torch.Tensor", mask: "torch.Tensor", read: "torch.Tensor") -> "torch.Tensor":
        """Run (K, L, W) through all blocks; return (K, W) or a few rows more, the positions that are read."""
        import torch

        transformer = self._tower.transformer
        if not self.last_block_at_the_end:
            whole: torch.Tensor = transformer(x, attn_mask=mask)
            return whole[torch.arange(len(x), device=x.device), read]
        *blocks, last = transformer.resblocks
        for block in blocks:
            x = block(x, attn_mask=mask)
        return read_at(last, x, read, mask)
