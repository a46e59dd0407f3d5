"""The log-opinion pool: the mean of the log-odds of lexicon, sentences and look-alikes (``in_score = "pool"``).

Each bank is a witness that says how likely a picture is in-distribution; its vote is the log-odds z of its own score.
The pool is ``sigmoid(mean z)``: a logarithmic opinion pool with equal weights (Genest & Zidek, Statistical Science
1986), that is naive Bayes over the banks. It is idempotent where the votes agree. An empty bank has no vote, and S_nl
never stands in for one. With E the mass of the ID classes and E_g that of a group of negatives (see
`ants_engine.method.masses`), s_g = E / (E + E_g):

- lexicon: z_L = log sum_g s_g - log sum_g (1 - s_g), the logit of the grouped mean;
- every other bank, of M texts: z = log E - log((R / M) * sum_n exp l_n), so that a growing bank does not shift the
  score; a bank that is scored in groups has the logit of the grouped mean of the same.

Votes are taken in log space. A logit of a float32 score would be infinite or coarse where the score is next to 0 or 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ants_engine.method.masses import Cut, IdMass, bank_masses, products

RATED_TEXTS = 100.0
"""R: the masses of sentences and look-alikes count as if each bank had so many texts, as a lexicon's group has."""
_SMALLEST = 1e-30
"""A float32 sum of exponentials below this may have lost terms."""


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """The log-odds of N pictures by each bank, higher = more in-distribution; None for an empty bank."""

    lexicon: Tensor | None
    """(N,) z_L; its sigmoid is S_nl."""
    sentences: Tensor | None
    """(N,) z_S."""
    look_alikes: Tensor | None
    """(N,) z_V."""
    activated: Tensor | None = None
    """(N,) of the words that verified pictures activate, see `ants_engine.method.verified.activated_words`."""

    def given(self) -> Mapping[str, Tensor]:
        """Return the votes of the banks that are not empty, by name, each (N,)."""
        named = {
            "lexicon": self.lexicon,
            "sentences": self.sentences,
            "look_alikes": self.look_alikes,
            "activated": self.activated,
        }
        return {name: vote for name, vote in named.items() if vote is not None}

    def log_odds(self) -> Tensor:
        """Return the pooled log-odds (N,): the mean of the votes.

        Raises:
            ValueError: every bank is empty.
        """
        votes = tuple(self.given().values())
        if not votes:
            raise ValueError("no bank has a vote: lexicon, sentences and look-alikes are all empty")
        return torch.stack(votes).mean(dim=0)

    def score(self) -> Tensor:
        """Return ``id_score`` (N,) in [0, 1], higher = more in-distribution; errors as for `log_odds`.

        Float32 has no score between 1 - 6e-8 and 1, so pictures with log-odds above 17 tie there. Rank by `log_odds`.
        """
        return torch.sigmoid(self.log_odds())


def votes_of(
    scaled: Tensor,
    id_mass: IdMass,
    *,
    lexicon: Cut | None,
    sentences: Cut | None,
    look_alikes: Cut | None,
    activated: Cut | None = None,
) -> Votes:
    """Return every bank's vote, without ever holding a bank's logits.

    Args:
        scaled: ``(N, D)`` L2-normalised image features divided by the temperature, float32 or float64.
        id_mass: of the same pictures.
        lexicon: the initial negatives in their groups; None or without texts for an empty bank.
        sentences: likewise; one group, or the groups that the bank is scored in.
        look_alikes: likewise.
        activated: words of the lexicon that verified pictures activate, likewise.
    """

    def bank(cut: Cut | None) -> Tensor | None:
        if cut is None or not cut.sizes:
            return None
        return bank_vote(id_mass, log_masses(scaled, cut, id_mass.top), cut.sizes)

    words = None
    if lexicon is not None and lexicon.sizes:
        words = grouped_vote(id_mass, log_masses(scaled, lexicon, id_mass.top))
    return Votes(words, bank(sentences), bank(look_alikes), bank(activated))


def log_masses(scaled: Tensor, cut: Cut, top: Tensor, masses: Tensor | None = None) -> Tensor:
    """Return the logarithm of each group's mass, right where the mass itself leaves the floating-point range.

    Args:
        scaled: ``(N, D)``, see `votes_of`.
        cut: the bank in its groups.
        top: ``(N, 1)``, see `IdMass`.
        masses: ``(N, G)``, what `bank_masses` has returned of the same, where it has been called already.

    Returns:
        ``(N, G)``: log sum exp(logit - top). Memory is bounded as in `bank_masses`. A row depends on its own features
        only, as far as products of this shape do.
    """
    if masses is None:
        masses, _ = bank_masses(scaled, cut, top)
    logs = masses.log()
    lost = ((masses < _SMALLEST) | masses.isinf()).any(dim=1, keepdim=True)
    if not bool(lost.any()):
        return logs
    # all rows once more, so that the products' shape does not depend on which rows need it
    ends = torch.tensor(cut.sizes).cumsum(0).tolist()
    exact = [
        torch.logsumexp(products(scaled, cut.features[end - size : end]) - top, dim=1)
        for size, end in zip(cut.sizes, ends, strict=True)
    ]
    return torch.where(lost, torch.stack(exact, dim=1), logs)


def grouped_vote(id_mass: IdMass, logs: Tensor) -> Tensor:
    """Return the logit (N,) of the mean score over G groups; its sigmoid is `IdMass.score` of the masses.

    Args:
        id_mass: of N pictures.
        logs: ``(N, G)`` log masses, G at least 1.

    Raises:
        ValueError: there is no group.
    """
    if not logs.shape[1]:
        raise ValueError("a bank without texts has no vote")
    odds = id_mass.mass.log() - logs
    if odds.shape[1] == 1:
        return odds[:, 0]
    known, unknown = torch.nn.functional.logsigmoid(odds), torch.nn.functional.logsigmoid(-odds)
    return torch.logsumexp(known, dim=1) - torch.logsumexp(unknown, dim=1)


def bank_vote(id_mass: IdMass, logs: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the vote (N,) of sentences or look-alikes: as `grouped_vote`, each group as if of `RATED_TEXTS` texts.

    Args:
        id_mass: of N pictures.
        logs: ``(N, G)`` log masses, G at least 1.
        sizes: how many texts each group has.

    Raises:
        ValueError: there is no group.
    """
    shift = torch.tensor([math.log(RATED_TEXTS / size) for size in sizes], dtype=logs.dtype, device=logs.device)
    return grouped_vote(id_mass, logs + shift)
