"""NegLabel (Jiang et al., ICLR 2024, arXiv 2403.20078)."""

from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline
from ants_engine.baselines.text_space import TextSpace
from ants_engine.method.masses import Cut, IdMass, cut_scores


class NegLabel(FrozenBaseline):
    """S_nl = mean over the groups g of E_id / (E_id + E_g), E = sum exp(cos / tau), in [0, 1].

    It is the engine's initial detector, to the same bits; without negatives it is 1.
    """

    name = "neglabel"

    def __init__(self, space: TextSpace) -> None:
        """Score in this text space; its negatives are put in order once."""
        super().__init__(space)
        order = space.groups.order
        self._cut = Cut(space.negatives if order is None else space.negatives[order], space.groups.sizes)

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the grouped score (N,)."""
        return cut_scores(features / self._space.temperature, self._cut, IdMass.of(id_logits))[0]
