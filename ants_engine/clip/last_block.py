"""The last block of open_clip's transformers, computed only at the position that becomes the feature.

In the last of a tower's blocks no position reads another one's result any more, so that all but the one that is read
need nothing but their keys and values. That is a twelfth of a tower of twelve blocks, less its attention.
"""

from typing import TYPE_CHECKING, Any

from ants_engine.common.row_blocks import filled

if TYPE_CHECKING:
    import torch

LEAST_ROWS = 4
"""From here on, what follows are products of as many rows as there are pictures; fewer take other ways through them."""


def is_plain(block: Any) -> bool:
    """Tell whether `read_at` computes what this block computes: open_clip's own block of self-attention."""
    from open_clip.transformer import ResidualAttentionBlock

    return type(block) is ResidualAttentionBlock and block.attn.batch_first and not hasattr(block, "ln_1_kv")


def read_at(
    block: Any, x: "torch.Tensor", positions: "torch.Tensor", mask: "torch.Tensor | None" = None
) -> "torch.Tensor":
    """Compute one position per row of a plain block's result.

    Args:
        block: see `is_plain`.
        x: (n, L, W), what goes into the block.
        positions: int64 (n,), which position of each row.
        mask: (L, L), added to the attention's logits, or None.

    Returns:
        (n, W): ``block(x, attn_mask=mask)[range(n), positions]``, but for the last bits; `LEAST_ROWS` rows where n is
        less: the first one repeated, for the caller to cut off when it has done with them.
    """
    import torch

    x, positions = filled(x, LEAST_ROWS), filled(positions, LEAST_ROWS)
    rows = torch.arange(len(x), device=x.device)
    seen = block.ln_1(x)
    # one query per row; a mask per row is wanted once per head
    own = None if mask is None else mask[positions][:, None].repeat_interleave(block.attn.num_heads, dim=0)
    asking = seen[rows, positions][:, None]
    read = x[rows, positions][:, None] + block.ls_1(block.attention(asking, seen, seen, attn_mask=own))
    found: torch.Tensor = read + block.ls_2(block.mlp(block.ln_2(read)))
    return found[:, 0]
