"""NegLabel (ICLR 2024) without its groups: all negatives in one softmax."""

from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline
from ants_engine.method.masses import Cut, IdMass, bank_masses


class NegLabelOneGroup(FrozenBaseline):
    """S = E_id / (E_id + E_neg), E = sum exp(cos / tau) over all ID classes and over all negatives, in [0, 1]."""

    name = "neglabel-1"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the softmax mass of the ID classes (N,)."""
        id_mass = IdMass.of(id_logits)
        count = len(self._space.negatives)
        whole = Cut(self._space.negatives, (count,) if count else ())
        return id_mass.score(bank_masses(features / self._space.temperature, whole, id_mass.top)[0])
