"""The latest rows of something that grows: an immutable, bounded queue of tensors."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """At most ``limit`` rows, the latest ones, in order. Appending makes a new value and copies little.

    Chunks are merged when a younger one has grown to half of its elder, so that there are few, and a row is copied a
    logarithmic number of times, however small the batches are.
    """

    limit: int
    empty: Tensor
    """(0, …): the shape and dtype of the rows."""
    chunks: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, limit: int, *shape: int, dtype: torch.dtype = torch.float32) -> "Rows":
        """Return an empty queue of rows of the given shape."""
        return cls(limit, torch.empty(0, *shape, dtype=dtype))

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(len(chunk) for chunk in self.chunks)

    def append(self, rows: Tensor) -> "Rows":
        """Return the queue with more rows, without the oldest ones where it is full."""
        rows = rows[max(0, len(rows) - self.limit) :].to(self.empty.dtype)
        chunks = [*self.chunks, _own(rows)] if len(rows) else list(self.chunks)
        while len(chunks) > 1 and len(chunks[-2]) < 2 * len(chunks[-1]):
            chunks[-2:] = [torch.cat(chunks[-2:])]
        extra = sum(len(chunk) for chunk in chunks) - self.limit
        while extra > 0:
            first = chunks[0]
            chunks[:1] = [_own(first[extra:])] if extra < len(first) else []
            extra -= len(first)
        return replace(self, chunks=tuple(chunks))

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return some rows (n, …), without putting all of them together."""
        starts = list(accumulate((len(chunk) for chunk in self.chunks), initial=0))
        parts = [bisect_right(starts, row) - 1 for row in rows]
        found = [self.chunks[part][row - starts[part]] for part, row in zip(parts, rows, strict=True)]
        return torch.stack(found) if found else self.empty

    def limited(self, limit: int) -> "Rows":
        """Return the queue with another limit; the latest rows stay."""
        return self if self.limit == limit else replace(self, limit=limit, chunks=()).append(self.tensor())

    def tensor(self) -> Tensor:
        """Return all rows (n, …), oldest first."""
        if not self.chunks:
            return self.empty
        return self.chunks[0] if len(self.chunks) == 1 else torch.cat(self.chunks)


def _own(rows: Tensor) -> Tensor:
    """Return rows that do not keep a much larger tensor in memory."""
    return rows.clone() if rows.untyped_storage().nbytes() > 2 * rows.numel() * rows.element_size() else rows
