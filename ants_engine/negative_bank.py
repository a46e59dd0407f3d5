"""Texts that stand for what is not ID, with their CLIP features and where each came from."""

from dataclasses import dataclass

import torch
from torch import Tensor


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

    @classmethod
    def empty(cls, kind: str, dim: int) -> "NegativeBank":
        """Return a bank without texts."""
        return cls(kind, (), (), torch.zeros(0, dim))

    def __len__(self) -> int:
        """Return M."""
        return len(self.texts)
