"""Baselines that score each picture by itself, each with its formula and source."""

import torch
from torch import Tensor

from ants_engine.baselines.baseline import FrozenBaseline, TextSpace
from ants_engine.errors import UsageError
from ants_engine.method.masses import Cut, IdMass, cut_scores, products
from ants_engine.method.scoring import mcm_score


class Mcm(FrozenBaseline):
    """S = max_y softmax_y(cos(v, t_y) / tau) over the ID classes, in [1/C, 1].

    MCM, maximum concept matching (Ming et al., NeurIPS 2022, arXiv 2211.13445).
    """

    name = "mcm"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the highest softmax probability (N,)."""
        return mcm_score(id_logits)


class MaxLogit(FrozenBaseline):
    """S = max_y cos(v, t_y) over the ID classes, in [-1, 1], independent of the temperature.

    The highest logit without a softmax (Hendrycks et al., ICML 2022, arXiv 1911.11132); here a cosine.
    """

    name = "max-logit"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the highest cosine (N,)."""
        return products(features, self._space.class_features).amax(dim=1)


class Energy(FrozenBaseline):
    """S = log sum_y exp(cos(v, t_y) / tau) over the ID classes: the negative energy, any real number.

    Energy score (Liu et al., NeurIPS 2020, arXiv 2010.03759) of CLIP's logits.
    """

    name = "energy"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the logsumexp of the ID logits (N,)."""
        return torch.logsumexp(id_logits, dim=1)


class NegLabel(FrozenBaseline):
    """S_nl = mean over the groups g of E_id / (E_id + E_g), E = sum exp(cos / tau), in [0, 1].

    NegLabel (Jiang et al., ICLR 2024, arXiv 2403.20078). Bit for bit the engine's initial detector.
    Without negatives it is 1.
    """

    name = "neglabel"

    def __init__(self, space: TextSpace) -> None:
        """Score in this text space; its negatives are grouped once."""
        super().__init__(space)
        order = space.groups.order
        self._cut = Cut(space.negatives if order is None else space.negatives[order], space.groups.sizes)

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the grouped score (N,)."""
        return cut_scores(features / self._space.temperature, self._cut, IdMass.of(id_logits))[0]


class NegLabelOneGroup(FrozenBaseline):
    """S = E_id / (E_id + E_neg), E = sum exp(cos / tau), in [0, 1]: NegLabel with all negatives in one group."""

    name = "neglabel-1"

    def id_score(self, features: Tensor, id_logits: Tensor) -> Tensor:
        """Return the softmax mass of the ID classes (N,)."""
        count = len(self._space.negatives)
        whole = Cut(self._space.negatives, (count,) if count else ())
        return cut_scores(features / self._space.temperature, whole, IdMass.of(id_logits))[0]


class Eoe(FrozenBaseline):
    """S = max_y p_y - beta · max_o p_o, in [-beta, 1].

    p is one softmax of cos / tau over the ID classes y and the outlier labels o; without labels it is MCM. EOE,
    envisioned outlier exposure (Cao et al., ICML 2024, arXiv 2406.00806).
    """

    name = "eoe"

    def __init__(self, space: TextSpace, beta: float = 0.25) -> None:
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
