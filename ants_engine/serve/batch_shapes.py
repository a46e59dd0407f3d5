"""Which sizes of a batch give a picture the same bits, found out by trial: that is a matter of kernels and devices."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def agreeing_sizes(encode: Callable[[Sequence[Tensor]], Tensor], shape: Sequence[int], most: int) -> tuple[int, ...]:
    """Return the sizes, smallest first, in which rows come out as they do among ``most``.

    A kernel sums in an order that depends on the shape and not on the numbers, so that noise shows whether two orders
    differ.

    Args:
        encode: n inputs to (n, D).
        shape: of one input.
        most: the largest batch.

    Returns:
        Powers of two below ``most`` that agree with it, and ``most``.
    """
    noise = torch.randn((most, *shape), generator=torch.Generator().manual_seed(0))
    rows = list(noise)
    whole = encode(rows)
    found = []
    size = 1
    while size < most:
        first, last = encode(rows[:size]), encode(rows[-size:])
        if torch.equal(first, whole[:size]) and torch.equal(last, whole[-size:]):
            found.append(size)
        size *= 2
    return (*found, most)
