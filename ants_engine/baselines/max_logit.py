"""MaxLogit: the highest logit, without a softmax (Hendrycks et al., ICML 2022, arXiv 1911.11132); here a cosine."""

from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline
from ants_engine.method.masses import products


class MaxLogit(FrozenBaseline):
    """S = max_y cos(v, t_y) over the ID classes, in [-1, 1]; the temperature has no part in it."""

    name = "max-logit"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the highest cosine (N,)."""
        return products(features, self._space.class_features).amax(dim=1)
