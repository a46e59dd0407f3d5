"""NegLabel (ICLR 2024) without its groups: all negatives in one softmax."""

from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline
from ants_engine.method.masses import Cut, IdMass, cut_scores


class NegLabelOneGroup(FrozenBaseline):
    """S = E_id / (E_id + E_neg), E = sum exp(cos / tau) over all ID classes and over all negatives, in [0, 1]."""

    name = "neglabel-1"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the softmax mass of the ID classes (N,)."""
        count = len(self._space.negatives)
        whole = Cut(self._space.negatives, (count,) if count else ())
        return cut_scores(features / self._space.temperature, whole, IdMass.of(id_logits))[0]
