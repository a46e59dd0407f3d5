"""A picture as an MLLM is shown it: shrunk, encoded without loss, named by its samples."""

import hashlib

from PIL import Image

from ants_engine.clip.png import png_bytes
from ants_engine.protocol import Picture


def shrink(image: Image.Image, max_side: int) -> Image.Image:
    """Shrink a picture, never enlarge it, so that its longest side is at most ``max_side`` pixels.

    Lanczos, sides rounded half up in integers and at least 1: the same samples on every machine. Doing it twice is
    doing it once. A picture that already fits is given back as it is.
    """
    width, height = image.size
    longest = max(width, height)
    if longest <= max_side:
        return image
    sides = [max(1, (2 * side * max_side + longest) // (2 * longest)) for side in (width, height)]
    return image.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)


def encode_picture(image: Image.Image, max_side: int) -> Picture:
    """Shrink and encode a picture as PNG.

    Args:
        image: an upright picture of mode ``RGB``.
        max_side: longest side allowed, in pixels.

    Returns:
        The picture; its ``sha256`` is over ``RGB``, width and height (8 bytes each, big-endian) and the raw samples.

    Raises:
        ValueError: the picture is not of mode ``RGB``.
    """
    if image.mode != "RGB":
        raise ValueError(f"an RGB picture is expected, not {image.mode}")
    small = shrink(image, max_side)
    digest = hashlib.sha256(b"RGB" + small.width.to_bytes(8, "big") + small.height.to_bytes(8, "big"))
    digest.update(small.tobytes())
    return Picture(png_bytes(small), "image/png", digest.hexdigest(), small.width, small.height)
