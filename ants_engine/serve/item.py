"""One thing to score: a picture's bytes, or a CLIP feature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Item:
    """What a client has sent; exactly one of ``data`` and ``feature`` is given, or else an ``error``."""

    name: str
    data: bytes | None = None
    """A picture file's content."""
    feature: NDArray[np.float32] | None = None
    """(D,) as it came, not checked."""
    error: str | None = None
    """Why there is neither."""


def item_name(given: str | None, index: int) -> str:
    """Return what an item is called: its given name, cut, or its position."""
    return (given or "").strip()[:LONGEST_NAME] or f"#{index}"
