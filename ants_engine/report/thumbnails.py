"""Thumbnails to embed in a page: all together stay within a bound, whatever their number."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from ants_engine.clip.image_ref import ImageRef
from ants_engine.clip.picture import shrink
from ants_engine.errors import ImageError
from ants_engine.settings.config import ImageSettings

BOUND = 4_000_000
"""Characters of all thumbnails together, as they stand in the page."""
STEPS = ((160, 72), (128, 70), (112, 66), (96, 62), (80, 58), (64, 52), (48, 45), (32, 35))
"""Longest side in pixels and WebP quality; the first step that fits a picture's part of the bound is used."""
SAMPLE = 24
"""Pictures that are tried first to find the step where the others begin."""
_PREFIX = "data:image/webp;base64,"


def thumbnails(
    refs: Sequence[ImageRef | None], limits: ImageSettings, bound: int = BOUND, threads: int = 2
) -> list[str | None]:
    """Return a data URL for every picture that can be read and fits, in order; None for the others.

    A picture that needs more than its part takes what earlier ones have left.

    Args:
        refs: of the pictures; None where there is none.
        limits: for decoding.
        bound: characters of all data URLs together.
        threads: for decoding.
    """
    wanted = sum(ref is not None for ref in refs)
    if not wanted:
        return [None] * len(refs)
    part = bound // wanted

    def small(ref: ImageRef | None, first: int = 0) -> tuple[int, str | None]:
        return (0, None) if ref is None else _thumbnail(ref, limits, part, first)

    with ThreadPoolExecutor(threads, thread_name_prefix="ants-thumbnails") as pool:
        there = [ref for ref in refs if ref is not None]
        # a sample finds the first step, so that thousands need not be encoded at every step
        few = there[:: -(-len(there) // SAMPLE)]
        steps = sorted(step for step, url in pool.map(small, few) if url is not None)
        first = steps[len(steps) // 4] if steps else 0
        made = [url for _, url in pool.map(lambda ref: small(ref, first), refs)]
    left = bound
    for row, one in enumerate(made):
        if one is not None and len(one) > left:
            made[row] = None
        elif one is not None:
            left -= len(one)
    return made


def _thumbnail(ref: ImageRef, limits: ImageSettings, part: int, first: int) -> tuple[int, str | None]:
    """Return the first step within a picture's part of the bound, and the data URL."""
    try:
        picture = ref.load(limits)
    except ImageError:
        # the file has changed since CLIP read it; the picture is shown without a thumbnail
        return first, None
    for step in range(first, len(STEPS)):
        side, quality = STEPS[step]
        picture = shrink(picture, side)
        url = _PREFIX + base64.b64encode(_webp(picture, quality)).decode("ascii")
        if len(url) <= part or step == len(STEPS) - 1:
            return step, url
    return first, None


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # without metadata: EXIF may hold the place where a picture was taken
    bare = picture.copy()
    bare.info.clear()
    bare.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def thumbnail(ref: ImageRef, limits: ImageSettings) -> str:
    """Return a data URL of one picture at the largest of `STEPS` (blocking).

    Raises:
        ImageError: the picture cannot be read.
    """
    side, quality = STEPS[0]
    return _PREFIX + base64.b64encode(_webp(shrink(ref.load(limits), side), quality)).decode("ascii")
