"""MCM, maximum concept matching (Ming et al., NeurIPS 2022, arXiv 2211.13445)."""

import torch
from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline, TextSpace
from ants_engine.errors import UsageError
from ants_engine.method.masses import Cut, IdMass, cut_scores, products
from ants_engine.method.scoring import mcm_score


class Mcm(FrozenBaseline):
    """S = max_y softmax_y(cos(v, t_y) / tau) over the ID classes, in [1/C, 1]."""

    name = "mcm"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the highest softmax probability (N,)."""
        return mcm_score(id_logits)


class MaxLogit(FrozenBaseline):
    """S = max_y cos(v, t_y) over the ID classes, in [-1, 1]; the temperature has no part in it."""

    name = "max-logit"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the highest cosine (N,)."""
        return products(features, self._space.class_features).amax(dim=1)


class Energy(FrozenBaseline):
    """S = log sum_y exp(cos(v, t_y) / tau) over the ID classes: the negative energy, any real number."""

    name = "energy"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the logsumexp of the ID logits (N,)."""
        return torch.logsumexp(id_logits, dim=1)


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


class NegLabelOneGroup(FrozenBaseline):
    """S = E_id / (E_id + E_neg), E = sum exp(cos / tau) over all ID classes and over all negatives, in [0, 1]."""

    name = "neglabel-1"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the softmax mass of the ID classes (N,)."""
        count = len(self._space.negatives)
        whole = Cut(self._space.negatives, (count,) if count else ())
        return cut_scores(features / self._space.temperature, whole, IdMass.of(id_logits))[0]


BETA = 0.25


class Eoe(FrozenBaseline):
    """S = max_y p_y - beta · max_o p_o, in [-beta, 1].

    p is one softmax of cos / tau over the ID classes y and the outlier labels o. Without any label it is MCM.
    """

    name = "eoe"

    def __init__(self, space: TextSpace, beta: float = BETA) -> None:
        """Score in this text space.

        Args:
            space: with outlier labels.
            beta: weight of the outlier labels, at least 0; the paper's is 0.25.

        Raises:
            UsageError: the space has no outlier labels, or ``beta`` is below 0.
        """
        super().__init__(space)
        if space.outlier_features is None:
            raise UsageError(
                "eoe needs an LLM's outlier labels: ask for them (ants_engine.baselines.eoe_labels), encode them, and "
                "give them to TextSpace.of"
            )
        if not beta >= 0.0:
            raise UsageError(f"eoe: beta must be at least 0, not {beta}")
        self._outliers = space.outlier_features
        self._beta = beta

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the difference of the two highest probabilities (N,)."""
        if not len(self._outliers):
            return mcm_score(id_logits)
        outliers = features @ self._outliers.T / self._space.temperature
        whole = torch.logaddexp(torch.logsumexp(id_logits, dim=1), torch.logsumexp(outliers, dim=1))
        return torch.exp(id_logits.amax(dim=1) - whole) - self._beta * torch.exp(outliers.amax(dim=1) - whole)
