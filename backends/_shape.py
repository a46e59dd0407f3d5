"""Pictures of a shape that models can take."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

EXTREME_RATIO = 16
"""Longest side over shortest, beyond which a picture is stretched."""


def bounded_ratio(picture: "Image.Image") -> "Image.Image":
    """Stretch the short side of an extreme picture, so that all of it is still seen.

    Scaled up to a model's height as it is, a line of 448 x 1 pixels would take a gigabyte, and some models refuse it.
    """
    from PIL import Image

    width, height = picture.size
    least = -(-max(width, height) // EXTREME_RATIO)
    if min(width, height) >= least:
        return picture
    return picture.resize((max(width, least), max(height, least)), Image.Resampling.NEAREST)
