"""Changes of a bank that have been asked for and are not in effect yet."""

from dataclasses import dataclass

from torch import Tensor

from ants_engine.learning.candidates import Candidate


@dataclass(frozen=True, slots=True, eq=False)
class EnsUpdate:
    """Sentences of negative images."""

    due: int
    """The batch (from 1) at which it takes effect."""
    asked: tuple[Candidate, ...]
    """Pictures whose captions are asked for."""
    members: tuple[int, ...]
    """Ids of all negative images, whose sentences make the bank, lowest score first."""
    features: Tensor
    """(X, D) of the same pictures, for lambda."""
    alike: int = 0
    """Members that are never asked for, as of this update, because they look like one that is."""


@dataclass(frozen=True, slots=True, eq=False)
class VsnlUpdate:
    """Look-alikes of classes."""

    due: int
    asked: tuple[int, ...]
    """Classes whose look-alikes are asked for."""
    members: tuple[int, ...]
    """All classes whose look-alikes make the bank, in order."""


Update = EnsUpdate | VsnlUpdate
