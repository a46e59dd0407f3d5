"""Pictures of emoji: sprites placed on varied backgrounds, turned, scaled, recoloured and disturbed.

Everything is done for a whole batch at once in torch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (240, 147, 43),
    "yellow": (246, 222, 74),
    "green": (60, 160, 80),
    "blue": (50, 100, 210),
    "purple": (130, 70, 180),
    "pink": (245, 150, 190),
    "brown": (125, 80, 45),
    "black": (25, 25, 28),
    "white": (245, 245, 245),
    "grey": (140, 142, 145),
}
COLOUR_NAMES = list(COLOURS)
PALETTE = torch.tensor(list(COLOURS.values()), dtype=torch.float32) / 255

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
RGB = torch.linalg.inv(YIQ)


@dataclass(frozen=True)
class Strength:
    """How far renderings stray from the plain sprite."""

    turn: float = 0.4
    """Largest rotation in radians."""
    scale: tuple[float, float] = (0.5, 1.0)
    """Side of the sprite as a share of the picture's."""
    shear: float = 0.15
    warp: float = 0.06
    """Standard deviation of the elastic displacement, in units of half the sprite."""
    recolour: float = 0.35
    """Share of sprites whose hue is turned far; the others vary slightly."""
    cut: float = 0.2
    """Share of sprites with a rectangle missing."""
    outline: float = 0.15
    """Share of sprites with a sticker's outline."""
    disturb: float = 1.0
    """Scale of blur, noise and light changes."""


STRONG = Strength()
"""For the first steps of training: what carries over to styles never seen."""
MEDIUM = Strength(turn=0.35, shear=0.1, warp=0.04, recolour=0.2, cut=0.06, outline=0.1, disturb=0.8)
"""For the rest of training."""
PICTURES = Strength(
    turn=0.35, scale=(0.55, 0.95), shear=0.08, warp=0.0, recolour=0.12, cut=0.0, outline=0.0, disturb=0.6
)
"""For the pictures of the benchmark."""


def uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """`count` numbers drawn evenly from an interval."""
    return torch.rand(count, generator=rng) * (high - low) + low


def chance(count: int, share: float, rng: torch.Generator) -> Tensor:
    """`count` booleans, true with a probability of `share`."""
    return torch.rand(count, generator=rng) < share


def blocks(count: int, cells: int, side: int, rng: torch.Generator, channels: int = 1) -> Tensor:
    """Smooth random fields of standard deviation about one."""
    coarse = torch.randn(count, channels, cells, cells, generator=rng)
    return functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)


def backgrounds(colour: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """Backgrounds whose main colour is the palette's `colour`: plain, gradient, stripes, blobs, checks or noise."""
    count = len(colour)
    main = (PALETTE[colour] + 0.05 * torch.randn(count, 3, generator=rng)).clamp(0, 1)
    tone = (main * uniform(count, 0.55, 1.35, rng)[:, None]).clamp(0, 1)
    other = torch.where(chance(count, 0.25, rng)[:, None], torch.rand(count, 3, generator=rng), tone)
    axis = torch.linspace(-1, 1, side)
    angle = uniform(count, 0, 2 * math.pi, rng)[:, None, None]
    along = torch.cos(angle) * axis[None, None, :] + torch.sin(angle) * axis[None, :, None]
    across = torch.cos(angle) * axis[None, :, None] - torch.sin(angle) * axis[None, None, :]
    pace = uniform(count, 4, 18, rng)[:, None, None]
    stripes = torch.sigmoid(8 * (torch.sin(pace * along) - 0.3))
    checks = (torch.sin(pace * along) * torch.sin(pace * across) > 0.2).float()
    blobs = torch.sigmoid(6 * (blocks(count, 5, side, rng)[:, 0] - 0.5))
    kind = torch.multinomial(torch.tensor([0.35, 0.2, 0.15, 0.2, 0.1]), count, replacement=True, generator=rng)
    kinds = torch.stack([torch.zeros_like(stripes), (along + 1) / 2.6, stripes, blobs, checks])
    share = kinds[kind, torch.arange(count)][:, None].clamp(0, 1)
    return main[:, :, None, None] + (other - main)[:, :, None, None] * share


def recoloured(sprites: Tensor, strength: Strength, rng: torch.Generator) -> Tensor:
    """RGBA sprites with hue, saturation, contrast and brightness changed."""
    count = len(sprites)
    far = chance(count, strength.recolour, rng)
    hue = torch.where(far, uniform(count, -math.pi, math.pi, rng), 0.15 * torch.randn(count, generator=rng))
    grey = chance(count, 0.2 * strength.recolour, rng)
    saturation = torch.where(grey, torch.zeros(count), uniform(count, 0.6, 1.4, rng))
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * torch.cos(hue)
    turn[:, 2, 1] = saturation * torch.sin(hue)
    turn[:, 1, 2] = -turn[:, 2, 1]
    matrix = RGB @ turn @ YIQ * uniform(count, 0.75, 1.25, rng)[:, None, None]
    colour = torch.bmm(matrix, sprites[:, :3].flatten(2)).view_as(sprites[:, :3])
    colour = (colour + uniform(count, -0.12, 0.12, rng)[:, None, None, None]).clamp(0, 1)
    gamma = torch.exp(0.3 * torch.randn(count, generator=rng))[:, None, None, None]
    return torch.cat([colour.clamp_min(1e-3) ** gamma, sprites[:, 3:]], 1)


def outlined(sprites: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """RGBA sprites, some with a dark or light line around them."""
    chosen = chance(len(sprites), share, rng).nonzero()[:, 0]
    if not len(chosen):
        return sprites
    some = sprites[chosen]
    wide = functional.max_pool2d(some[:, 3:], 5, 1, 2)
    line = torch.rand(len(chosen), 1, 1, 1, generator=rng).round().expand(-1, 3, *wide.shape[2:])
    sprites = sprites.clone()
    sprites[chosen] = torch.cat([some[:, :3] * some[:, 3:] + line * (1 - some[:, 3:]), wide], 1)
    return sprites


def placed(sprites: Tensor, mirror: Tensor, side: int, strength: Strength, rng: torch.Generator) -> Tensor:
    """Sprites at random places, sizes and angles of a square; premultiplied RGBA."""
    count = len(sprites)
    size = uniform(count, *strength.scale, rng)
    aspect = torch.exp(0.5 * strength.shear * torch.randn(count, generator=rng))
    angle = uniform(count, -strength.turn, strength.turn, rng)
    shear = uniform(count, -strength.shear, strength.shear, rng)
    room = (1.05 - size).clamp_min(0.05)
    place = torch.stack([uniform(count, -1, 1, rng), uniform(count, -1, 1, rng)], 1) * room[:, None]
    cos, sin = torch.cos(angle), torch.sin(angle)
    flip = torch.where(mirror, -1.0, 1.0)
    inverse = (
        torch.stack(
            [
                torch.stack([cos * flip * aspect, (sin + shear) * flip * aspect], 1),
                torch.stack([-sin / aspect, cos / aspect], 1),
            ],
            1,
        )
        / size[:, None, None]
    )
    theta = torch.cat([inverse, -(inverse @ place[:, :, None])], 2)
    grid = functional.affine_grid(theta, [count, 4, side, side], align_corners=False)
    if strength.warp:
        amount = strength.warp * torch.rand(count, generator=rng)[:, None, None, None] * 2
        grid = grid + (blocks(count, 4, side, rng, 2) * amount).permute(0, 2, 3, 1)
    sprites = torch.cat([sprites[:, :3] * sprites[:, 3:], sprites[:, 3:]], 1)
    return functional.grid_sample(sprites, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def with_cuts(sprites: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Premultiplied sprites, some with a random rectangle missing."""
    count, side = len(sprites), sprites.shape[-1]
    if not share:
        return sprites
    axis = torch.linspace(-1, 1, side)
    centre = uniform(2 * count, -0.7, 0.7, rng).view(count, 2, 1)
    half = uniform(2 * count, 0.1, 0.35, rng).view(count, 2, 1) * chance(count, share, rng)[:, None, None]
    inside = (axis - centre).abs() < half
    return sprites * (~(inside[:, 0, :, None] & inside[:, 1, None, :])).float()[:, None]


def disturbed(pictures: Tensor, amount: float, rng: torch.Generator) -> Tensor:
    """Pictures with their light changed, some blurred or noisy."""
    count = len(pictures)
    light = 1 + amount * uniform(count, -0.2, 0.2, rng)
    shift = amount * uniform(count, -0.1, 0.1, rng)
    pictures = pictures * light[:, None, None, None] + shift[:, None, None, None]
    blurred = chance(count, 0.35, rng).nonzero()[:, 0]
    if len(blurred):
        share = (amount * uniform(len(blurred), 0.2, 1.0, rng))[:, None, None, None]
        soft = functional.avg_pool2d(functional.pad(pictures[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
        pictures[blurred] = pictures[blurred] * (1 - share) + soft * share
    noise = amount * 0.08 * torch.rand(count, generator=rng) * chance(count, 0.5, rng)
    pictures = pictures + noise[:, None, None, None] * torch.randn(pictures.shape, generator=rng)
    return pictures.clamp(0, 1)


def render(
    sprites: Tensor, colour: Tensor, mirror: Tensor, side: int, strength: Strength, rng: torch.Generator
) -> Tensor:
    """Pictures of shape (count, 3, side, side) in [0, 1].

    `sprites` are uint8 RGBA, `colour` is the index of each background's main colour, and `mirror` says which
    sprites are mirrored.
    """
    shapes = recoloured(sprites.float() / 255, strength, rng)
    shapes = outlined(shapes, strength.outline, rng)
    shapes = with_cuts(placed(shapes, mirror, side, strength, rng), strength.cut, rng)
    ground = backgrounds(colour, side, rng)
    return disturbed(ground * (1 - shapes[:, 3:]) + shapes[:, :3], strength.disturb, rng)
