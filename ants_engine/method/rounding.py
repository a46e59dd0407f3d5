"""How a share of a number becomes a whole number, in one place."""

import math


def share_of(share: float, count: int) -> int:
    """Round ``share * count`` up: any share of something is at least one.

    The product's last bits are forgiven, so that 0.1 of 30 is 3 and not 4.

    Args:
        share: in (0, 1].
        count: at least 0.

    Raises:
        ValueError: ``share`` or ``count`` is outside its range.
    """
    if not 0.0 < share <= 1.0 or count < 0:
        raise ValueError(f"share must be in (0, 1] and count at least 0, not {share} and {count}")
    return min(count, math.ceil(share * count * (1.0 - 1e-12)))
