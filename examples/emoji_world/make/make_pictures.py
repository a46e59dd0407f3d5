"""Draw the pictures of the benchmark and write its OpenOOD lists."""

import random
import shutil
import zlib
from pathlib import Path

import torch
from benchmark import FAR, known_classes, near_concepts
from PIL import Image
from rendering import COLOUR_NAMES, PICTURES, chance, render
from sprites import HELD_OUT_STYLE, TRAINING_STYLES, Sprites, load_sprites
from torch import Tensor
from workspace import WORLD

EACH = 20
"""Pictures of every class and concept."""

SIDE = 96
SMALLEST = 80
QUALITY = 85
FOLDER = WORLD / "pictures"
LISTS = FOLDER / "benchmark_imglist" / "emoji_world"


def seed_of(part: str, name: str) -> int:
    """A seed of a concept's own, far from the seeds of training."""
    return 7_000_000_000 + zlib.crc32(f"{part}/{name}".encode())


def styles_of(ood: bool, rng: torch.Generator) -> Tensor:
    """The styles of a concept's pictures: the training styles, for OOD every other one the held-out style."""
    styles = torch.tensor(TRAINING_STYLES)[torch.randint(len(TRAINING_STYLES), (EACH,), generator=rng)]
    if ood:
        styles[1::2] = HELD_OUT_STYLE
    return styles


def drawn(sprites: Sprites, part: str, name: str, ood: bool) -> list[Image.Image]:
    """The pictures of one concept."""
    rng = torch.Generator().manual_seed(seed_of(part, name))
    sizes = random.Random(seed_of(part, name))
    index = next(place for place, one in enumerate(sprites.emoji) if one.name == name)
    styles = styles_of(ood, rng)
    colour = torch.randint(len(COLOUR_NAMES), (EACH,), generator=rng)
    mirror = chance(EACH, 0.3, rng) & torch.tensor(not sprites.emoji[index].has_side)
    pixels = sprites.pixels[styles, torch.full((EACH,), index)]
    pictures = (render(pixels, colour, mirror, SIDE, PICTURES, rng) * 255).round().byte().permute(0, 2, 3, 1)
    found = []
    for picture in pictures:
        image = Image.fromarray(picture.numpy())
        if sizes.random() < 0.25:
            size = sizes.randint(SMALLEST, SIDE), sizes.randint(SMALLEST, SIDE)
            image = image.resize(size, Image.Resampling.BICUBIC)
        found.append(image)
    return found


def write_part(sprites: Sprites, part: str, names: list[str], ood: bool) -> None:
    """Draw one of the benchmark's sets and write its list."""
    lines = []
    for label, name in enumerate(names):
        folder = Path("images") / part / name.replace(" ", "_")
        (FOLDER / folder).mkdir(parents=True)
        for number, picture in enumerate(drawn(sprites, part, name, ood)):
            path = folder / f"{number:02d}.jpg"
            picture.save(FOLDER / path, quality=QUALITY, subsampling=0)
            lines.append(f"{path.as_posix()} {-1 if ood else label}")
    (LISTS / f"test_{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{part}: {len(names)} concepts, {len(lines)} pictures")


def main() -> None:
    """Draw everything anew."""
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    LISTS.mkdir(parents=True)
    sprites = load_sprites()
    write_part(sprites, "emoji_world", known_classes(), ood=False)
    write_part(sprites, "near", near_concepts(), ood=True)
    write_part(sprites, "far", list(FAR), ood=True)
    (LISTS / "classes.txt").write_text("\n".join(known_classes()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
