"""Small pictures as a backend is shown them."""

import hashlib
import io
import random

from PIL import Image

from ants_engine.protocol import Call, Decoding, Picture


def picture(seed: int = 0, size: tuple[int, int] = (40, 40)) -> Picture:
    """Blocks of random colour, the same for the same arguments."""
    colours = random.Random(seed)
    small = Image.new("RGB", (4, 4))
    small.putdata([tuple(colours.randrange(256) for _ in range(3)) for _ in range(16)])
    image = small.resize(size, Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG")
    digest = hashlib.sha256(f"{size}".encode() + image.tobytes()).hexdigest()
    return Picture(data=file.getvalue(), media_type="image/png", sha256=digest, width=size[0], height=size[1])


def call(prompt: str = "describe this picture", shown: Picture | None = None, *, tokens: int = 8) -> Call:
    """A greedy call."""
    return Call(prompt=prompt, picture=shown, decoding=Decoding(max_new_tokens=tokens))
