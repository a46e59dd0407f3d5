"""The sprites of every emoji in every style, cached as one tensor.

Run as a script it draws the cache; other scripts call `load_sprites`.
"""

import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cairosvg
import numpy as np
import torch
from emoji import Emoji, all_emoji
from PIL import Image, ImageDraw, ImageFont
from workspace import NOTO, PACKAGES, WORK

SIZE = 72
"""Side of a cached sprite in pixels."""

STYLES = ("noto", "fluent-3d", "fluent-flat", "twemoji")
TRAINING_STYLES = (0, 1, 2)
"""Indices of the styles that models are trained on."""
HELD_OUT_STYLE = 3
"""Index of the style that no model is trained on."""

FOLDERS = {
    "fluent-3d": ("lobehub-fluent-emoji-3d-1.1.0/package/assets", ".webp"),
    "fluent-flat": ("lobehub-fluent-emoji-flat-1.1.0/package/assets", ".svg"),
    "twemoji": ("emoji-datasource-twitter-16.0.0/package/img/twitter/64", ".png"),
}
CACHE = WORK / "sprites.pt"


@dataclass(frozen=True)
class Sprites:
    """All emoji that exist in every style, and their pictures."""

    emoji: list[Emoji]
    pixels: torch.Tensor
    """uint8 of shape (styles, emoji, 4, SIZE, SIZE): RGBA, not premultiplied."""


def file_of(emoji: Emoji, style: str) -> Path | None:
    """The file that holds an emoji in one of the styles that come as files."""
    folder, suffix = FOLDERS[style]
    plain = [point for point in emoji.code if point != 0xFE0F]
    for code in (emoji.code, plain, [*plain, 0xFE0F]):
        path = PACKAGES / folder / ("-".join(f"{point:04x}" for point in code) + suffix)
        if path.is_file():
            return path
    return None


def squared(picture: Image.Image) -> Image.Image:
    """The picture cut to its content, centred on a square of the cache's size."""
    box = picture.getchannel("A").point(lambda value: 255 if value > 8 else 0).getbbox()
    if box is None:
        return Image.new("RGBA", (SIZE, SIZE))
    picture = picture.crop(box)
    scale = (SIZE - 4) / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE, SIZE))
    square.paste(picture, ((SIZE - width) // 2, (SIZE - height) // 2))
    return square


def drawn(emoji: Emoji, style: str) -> Image.Image | None:
    """The emoji in one style, or nothing where the style lacks it."""
    if style == "noto":
        font = ImageFont.truetype(str(NOTO), 109)
        canvas = Image.new("RGBA", (400, 160))
        ImageDraw.Draw(canvas).text((8, 8), emoji.text, font=font, embedded_color=True)
        box = canvas.getbbox()
        if box is None or box[2] - box[0] > 150:
            return None
        return canvas
    path = file_of(emoji, style)
    if path is None:
        return None
    if path.suffix == ".svg":
        data = cairosvg.svg2png(bytestring=path.read_bytes(), output_width=96, output_height=96)
        return Image.open(io.BytesIO(data)).convert("RGBA")
    return Image.open(path).convert("RGBA")


def row_of(emoji: Emoji) -> np.ndarray | None:
    """All styles of one emoji as (styles, 4, SIZE, SIZE), or nothing if one is missing or empty."""
    rows = []
    for style in STYLES:
        picture = drawn(emoji, style)
        if picture is None:
            return None
        pixels = np.asarray(squared(picture))
        if pixels[..., 3].max() == 0:
            return None
        rows.append(pixels.transpose(2, 0, 1))
    return np.stack(rows)


def draw_cache() -> None:
    """Draw every emoji in every style and store the result."""
    emoji = all_emoji()
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(row_of, emoji, chunksize=16))
    kept = [(one, row) for one, row in zip(emoji, rows, strict=True) if row is not None]
    pixels = torch.from_numpy(np.stack([row for _, row in kept], axis=1))
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"names": [one.name for one, _ in kept], "pixels": pixels}, CACHE)
    print(f"{len(kept)} of {len(emoji)} emoji in {len(STYLES)} styles -> {CACHE}")


def load_sprites() -> Sprites:
    """The cached sprites, drawn first if there is no cache."""
    if not CACHE.is_file():
        draw_cache()
    stored = torch.load(CACHE, weights_only=True)
    by_name = {one.name: one for one in all_emoji()}
    return Sprites([by_name[name] for name in stored["names"]], stored["pixels"])


if __name__ == "__main__":
    draw_cache()
