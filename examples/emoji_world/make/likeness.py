"""Which emoji look alike: members of the same subgroup, the nearest first, by the CLIP's features."""

import torch
from clip_model import SIDE, normalised
from open_clip import CLIP
from sprites import TRAINING_STYLES, Sprites
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast
from words import CONTEXT

MOST = 8
"""The longest list of look-alikes."""

TEXT_SHARE = 0.3
"""The weight of the names' nearness; the rest is the pictures'."""


def plain_pictures(sprites: Sprites, style: int) -> Tensor:
    """Every emoji of a style, upright on a grey background, as the CLIP wants it."""
    pixels = sprites.pixels[style].float() / 255
    colour, alpha = pixels[:, :3], pixels[:, 3:]
    pictures = colour * alpha + 0.6 * (1 - alpha)
    return normalised(functional.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", antialias=True))


@torch.inference_mode()
def nearness(model: CLIP, tokenizer: PreTrainedTokenizerFast, sprites: Sprites) -> Tensor:
    """The cosines of all pairs of emoji, pictures and names weighed."""
    count = len(sprites.emoji)
    pictures = torch.zeros(count, model.visual.output_dim)
    for style in TRAINING_STYLES:
        for part in torch.split(torch.arange(count), 256):
            pictures[part] += model.encode_image(plain_pictures(sprites, style)[part], normalize=True)
    pictures = functional.normalize(pictures, dim=-1)
    found = tokenizer(
        [f"the nice {one.name}." for one in sprites.emoji],
        padding="max_length",
        truncation=True,
        max_length=CONTEXT,
        return_tensors="pt",
    )
    names = model.encode_text(torch.as_tensor(found["input_ids"]), normalize=True)
    near: Tensor = (1 - TEXT_SHARE) * pictures @ pictures.T + TEXT_SHARE * names @ names.T
    return near


def look_alikes(near: Tensor, sprites: Sprites) -> list[list[str]]:
    """For every emoji the names of the ones that look most like it, of its subgroup first, then of its group."""
    found = []
    for index, one in enumerate(sprites.emoji):
        order = near[index].argsort(descending=True).tolist()
        others = [
            sprites.emoji[place] for place in order if place != index and one.name not in sprites.emoji[place].name
        ]
        same = [other for other in others if other.subgroup == one.subgroup]
        group = [other for other in others if other.group == one.group and other.subgroup != one.subgroup]
        found.append([other.name for other in (same + group)[:MOST]])
    return found
