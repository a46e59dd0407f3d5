"""Which of the mined pictures to describe: a share of them, spread out.

A sentence of a picture that looks like one described already says little that is new. In a build the pictures are all
there, and are chosen farthest point first (greedy k-centre; Gonzalez 1985). In a stream each is decided as it comes, by
an epsilon-net whose radius follows the budget. Both are deterministic: of equal pictures the earlier one comes first.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.rounding import share_of

_MEMBERS = 2048
"""Candidates that a round of picks is made among."""
_ROWS, _COLUMNS = 256, 2048
"""Shape of a product of candidates with picks: 2 MB of cosines, which a core's cache holds."""
STEP = 0.02
"""How far the net's cosine moves after a picture."""


def share_to_describe(mined: int, share: float, least: int, most: int | None = None) -> int:
    """Return how many of the mined pictures are described: the share of them, rounded up, within bounds.

    Args:
        mined: at least 0.
        share: in (0, 1].
        least: so many, or all that there are, however small the share.
        most: never more, if given.
    """
    count = min(mined, max(least, share_of(share, mined)))
    return count if most is None else min(count, most)


def farthest_first(features: Tensor, count: int) -> Tensor:
    """Pick rows farthest point first, beginning with row 0: greedy k-centre.

    Each next pick is the row whose highest cosine to the picks so far is lowest, of equal ones the first.

    Picks are made in rounds. A row's nearness (highest cosine to the picks) only grows, so one that has not been
    compared with the latest picks has a lower bound. A round takes the `_MEMBERS` rows with the lowest bounds, compares
    them with the picks that they lack, and picks among them, by the cosines between them, as long as the best is at
    most the lowest bound outside: then it is the best of all. Rows that are near to a pick are never looked at again.
    So it makes fewer products than a pass over all rows per pick, and makes them as matrix products.

    Args:
        features: ``(N, D)`` L2-normalised, any float dtype, computed in float32; lowest score first.
        count: at least 0; more than N picks all.

    Returns:
        ``(min(count, N),)`` int64 on the CPU, in the order of picking. Memory beside the features: the picks' float32
        features, and about 30 MB.

    Raises:
        ValueError: not a matrix, NaN, or a count below 0.
    """
    if features.ndim != 2 or count < 0:
        raise ValueError(f"features must be a matrix and count at least 0, not {tuple(features.shape)} and {count}")
    if not min(count, len(features)):
        return torch.zeros(0, dtype=torch.int64)
    picks = _Picks(features.detach().cpu(), min(count, len(features)))
    while picks.made < len(picks.rows):
        picks.round()
    return torch.from_numpy(picks.rows)


class _Picks:
    """The state of `farthest_first`: ``made`` picks, and a lower bound of every row's nearness to them."""

    def __init__(self, features: Tensor, count: int) -> None:
        self._features = features
        self.rows: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.made = 1
        self._picked = features.new_empty(count, features.shape[1], dtype=torch.float32)
        """Features of the picks."""
        self._picked[0] = features[0]
        parts = [part.float() @ self._picked[0] for part in torch.split(features, _ROWS * 16)]
        self._nearness: NDArray[np.float32] = torch.cat(parts).numpy()
        if np.isnan(self._nearness).any():
            raise ValueError("features hold NaN")
        self._nearness[0] = np.inf
        self._compared = np.ones(len(features), dtype=np.int64)
        """With how many picks, the first ones, each row has been compared."""

    def round(self) -> None:
        """Bring the rows with the lowest bounds up to date, and pick among them as long as that is right."""
        members, bound, first = self._lowest()
        features = self._features[torch.from_numpy(members)].float()
        self._compare(members, features)
        nearness = self._nearness[members]
        able = np.flatnonzero((nearness < bound) | ((nearness == bound) & (members < first)))
        if not len(able):
            return
        rows, nearness, features = members[able], nearness[able], features[torch.from_numpy(able)]
        cosines = (features @ features.T).numpy()
        while self.made < len(self.rows):
            best = int(nearness.argmin())
            value = nearness[best]
            if value == np.inf or value > bound or (value == bound and rows[best] > first):
                break
            self.rows[self.made] = rows[best]
            self._picked[self.made] = features[best]
            self.made += 1
            np.maximum(nearness, cosines[best], out=nearness)
            nearness[best] = np.inf
        self._nearness[rows] = nearness
        self._compared[rows] = self.made

    def _lowest(self) -> tuple[NDArray[np.int64], float, int]:
        """Return the rows with the lowest bounds, in their order, and the first lowest bound outside with its row."""
        bounds = self._nearness
        count = min(_MEMBERS, len(bounds) - self.made)
        border = np.partition(bounds, count - 1)[count - 1]
        members = np.flatnonzero(bounds < border)
        ties = np.flatnonzero(bounds == border)[: count - len(members)]
        members = np.sort(np.concatenate([members, ties]))
        outside = bounds.copy()
        outside[members] = np.inf
        first = int(outside.argmin())
        return members, float(outside[first]), first

    def _compare(self, members: NDArray[np.int64], features: Tensor) -> None:
        """Compare members with the picks that they lack; those that lack the most first, for products of one shape."""
        lacking = np.flatnonzero(self._compared[members] < self.made)
        lacking = lacking[np.argsort(self._compared[members[lacking]], kind="stable")]
        for start in range(0, len(lacking), _ROWS):
            places = lacking[start : start + _ROWS]
            own, rows = features[torch.from_numpy(places)], members[places]
            for begin in range(int(self._compared[rows[0]]), self.made, _COLUMNS):
                cosines = own @ self._picked[begin : min(begin + _COLUMNS, self.made)].T
                self._nearness[rows] = np.maximum(self._nearness[rows], cosines.amax(dim=1).numpy())
        self._compared[members] = self.made


@dataclass(frozen=True, slots=True, eq=False)
class EpsilonNet:
    """Which pictures of a stream are described: those unlike all that have been, by a cosine that follows the budget.

    A value: `choose` returns the next one. Equal pictures in an equal order give equal choices.
    """

    described: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    """(n, D) float32: features of the latest pictures described."""
    cosine: float = 0.85
    """c: a picture with at least this cosine to a described one is left out."""
    seen: int = 0
    """Pictures decided so far."""
    chosen: int = 0
    """Pictures described so far."""

    def choose(self, features: Tensor, *, share: float, least: int, most: int) -> tuple["EpsilonNet", Tensor]:
        """Decide about the next n pictures, in their order.

        One is described if no described picture lies within cosine c, and if the budget allows it: the share of the
        pictures seen, rounded up, or ``least`` where that is more. After each picture c moves by `STEP` times (the
        share - 1) if none was within c, else by `STEP` times the share: so it follows the quantile of nearness at which
        the share is taken.

        Args:
            features: ``(n, D)`` L2-normalised float32.
            share: in (0, 1]; 1 describes everything.
            least: so many may be described, however few have been seen.
            most: described pictures that are remembered, the latest; at least 1.

        Returns:
            The net with these pictures decided, and ``(n,)`` bool: which are described.
        """
        taken = torch.zeros(len(features), dtype=torch.bool)
        if not len(features):
            return self, taken
        known = self.described if self.described.numel() else features.new_zeros(0, features.shape[1])
        nearness = (features @ known.T).amax(dim=1).numpy() if len(known) else np.full(len(features), -1.0)
        among = (features @ features.T).numpy()
        cosine, seen, chosen = self.cosine, self.seen, self.chosen
        for row in range(len(features)):
            seen += 1
            unlike = share >= 1.0 or float(nearness[row]) < cosine
            if unlike and chosen < max(least, share_of(share, seen)):
                taken[row] = True
                chosen += 1
                nearness = np.maximum(nearness, among[row])
            cosine = min(1.0, max(-1.0, cosine + STEP * (share - unlike)))
        known = torch.cat([known, features[taken]])[-most:]
        return EpsilonNet(known, cosine, seen, chosen), taken
