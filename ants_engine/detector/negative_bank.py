"""Texts that stand for what is not ID, with their CLIP features and where each came from."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ants_engine.method.masses import Cut
from ants_engine.method.neglabel import public_groups

CutKey = tuple[int, bool, int, int | None, int]
"""Group length, permutation, seed; group length and repeats of the second cut."""


@dataclass(frozen=True, slots=True, eq=False)
class NegativeBank:
    """M negative texts of one kind."""

    kind: str
    """``neglabel``, ``ens`` or ``vsnl``."""
    texts: tuple[str, ...]
    sources: tuple[str, ...]
    """Per text: the picture that was described, the ID class that it looks like, or the lexicon."""
    features: Tensor
    """(M, D) float32, L2-normalised."""
    _cuts: dict[CutKey, Cut] = field(default_factory=dict, init=False, repr=False)
    """A stream asks for the same cuts with every batch, and a bank is not changed but replaced."""

    @classmethod
    def empty(cls, kind: str, dim: int) -> "NegativeBank":
        """Return a bank without texts."""
        return cls(kind, (), (), torch.zeros(0, dim))

    def __len__(self) -> int:
        """Return M."""
        return len(self.texts)

    def cut(self, length: int, *, permute: bool, seed: int, second_length: int | None = None, repeats: int = 1) -> Cut:
        """Return the bank in the public code's groups of about ``length``; in one, as it is, if it is not longer.

        Args:
            length: at least 1.
            permute: put it in random order first.
            seed: of that order.
            second_length: cut it a second time, into groups of about this length.
            repeats: how often the bank is repeated before the second cut.
        """
        key = (length, permute, seed, second_length, repeats)
        if key not in self._cuts:
            groups = public_groups(len(self), length, permute=permute, seed=seed)
            features, counts = self.features, None
            if second_length is not None:
                other = public_groups(len(self) * repeats, second_length, permute=permute, seed=seed)
                counts = other.counts(len(self))
            if groups.order is not None:
                order = groups.whole_order(len(self)) if counts is not None else groups.order
                features, counts = features[order], None if counts is None else counts[order]
            self._cuts[key] = Cut(features, groups.sizes, counts)
        return self._cuts[key]
