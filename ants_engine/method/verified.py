"""What pictures that the MLLM has verified say: as prototypes, and of the negative texts.

Every answer to verify-or-describe is also a label of a picture: Y are the pictures that it confirmed to be of an ID
class, N all others that it was asked about. A picture v is compared with both:

    z_P = log mean_{i in Y} exp(v.x_i / tau') - log mean_{j in N} exp(v.x_j / tau'),  tau' = 0.1,

never with itself. At low prevalence most of N is ID pictures that the MLLM failed to confirm, so the vote is weighted
by rho, the share of N that is more than these (see `purity`). The final score is
``sigmoid(mean of the text votes + rho * z_P)``.

They also tell the negative texts apart (`activated_texts`): words of the lexicon that N activates more than Y are a
bank of their own, with a vote among the text votes; and a sentence that Y activates more than N is a false negative.
That is TANL's activation (CVPR 2026, arXiv 2603.25250) with verified pictures in place of merely likely ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ants_engine.method.masses import products

FEWEST, MOST = 3, 2000
"""Pictures of each kind: with fewer there is no vote, of more the latest are kept."""
TEMPERATURE = 0.1
"""tau': of pictures compared with pictures, whose cosines are far higher than those with texts."""
SAME = 1.0 - 1e-5
"""A picture with a higher cosine than this is the same picture."""
LOWEST_YES_RATE = 0.3
"""A judge that confirms less than this of ID pictures is taken for one that confirms so many."""
WORDS = 200
"""Words of the lexicon that vote as activated ones; 100 to 500 of 1,000 do as well."""
_ROWS = 1024
_CELLS = 4_000_000
"""Softmax probabilities computed at once."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedPictures:
    """Pictures that the MLLM was asked about, latest last. A key says which picture it is; -1 where nobody knows."""

    confirmed: Tensor
    """(Y, D) float32, L2-normalised: pictures that it confirmed to be of an ID class."""
    confirmed_keys: Tensor
    """(Y,) int64."""
    others: Tensor
    """(N, D): pictures that it described otherwise."""
    other_keys: Tensor
    """(N,) int64."""
    names: tuple[str, ...] = ()
    """What the confirmed pictures are called, where that is known."""

    @classmethod
    def of(cls, features: Tensor, yes: Tensor, keys: Tensor | None = None) -> "VerifiedPictures":
        """Sort pictures by their answers, and keep the latest `MOST` of each kind.

        Args:
            features: ``(K, D)`` L2-normalised, in the order of asking.
            yes: ``(K,)`` bool, whether the MLLM confirmed the picture.
            keys: ``(K,)`` int64 at least 0, one per picture.

        Raises:
            ValueError: lengths differ.
        """
        known = torch.full((len(features),), -1) if keys is None else keys
        if not len(features) == len(yes) == len(known):
            raise ValueError(f"{len(features)} features, {len(yes)} answers and {len(known)} keys")
        confirmed, others = torch.nonzero(yes).flatten()[-MOST:], torch.nonzero(~yes).flatten()[-MOST:]
        return cls(features[confirmed], known[confirmed], features[others], known[others])

    @property
    def votes(self) -> bool:
        """Whether there are enough pictures of both kinds."""
        return min(len(self.confirmed), len(self.others)) >= FEWEST

    def vote(self, features: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return z_P (n,), higher = more in-distribution; 0 where there are too few pictures.

        Args:
            features: ``(n, D)`` L2-normalised, dtype as the pictures'.
            keys: ``(n,)`` int64: which pictures these are, so that none is compared with itself; -1 for new ones.

        Returns:
            ``(n,)``. Memory is bounded by n and 1024 rows of comparisons.

        Raises:
            ValueError: lengths differ.
        """
        known = torch.full((len(features),), -1) if keys is None else keys
        if len(known) != len(features):
            raise ValueError(f"{len(features)} features and {len(known)} keys")
        if not self.votes:
            return features.new_zeros(len(features))
        return torch.cat(
            [
                _log_mean(rows, own, self.confirmed, self.confirmed_keys)
                - _log_mean(rows, own, self.others, self.other_keys)
                for rows, own in _blocks(features, known)
            ]
        )

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for ``(n, D)`` pictures, which confirmed picture each looks like most: rows and cosines, each (n,).

        Raises:
            ValueError: there is none.
        """
        if not len(self.confirmed):
            raise ValueError("no picture is confirmed to be of an ID class")
        cosine, row = torch.cat([rows @ self.confirmed.T for rows in torch.split(features, _ROWS)]).max(dim=1)
        return row, cosine


def activated_texts(
    pictures: VerifiedPictures, classes: Tensor, texts: Tensor, temperature: float, count: int | None = None
) -> Tensor:
    """Pick the negative texts that pictures described otherwise activate more than confirmed ones do.

    A text's activation by a picture is its softmax probability among the ID classes and all the texts. Texts are ranked
    by the mean over N minus the mean over Y: ID pictures that the MLLM failed to confirm are in both, and cancel.

    Args:
        pictures: what the MLLM has answered.
        classes: ``(C, D)`` L2-normalised.
        texts: ``(M, D)`` L2-normalised.
        temperature: of the softmax.
        count: most texts picked, those activated most; `WORDS` of a lexicon, all that are activated when left out.

    Returns:
        ``(K,)`` int64 on the CPU: rows of ``texts``, most activated first, ties by row.

    Raises:
        ValueError: there are too few pictures of a kind to say anything.
    """
    if not pictures.votes:
        found = f"{len(pictures.confirmed)} confirmed and {len(pictures.others)} other pictures"
        raise ValueError(f"{found}; at least {FEWEST} of each are needed")
    together = torch.cat([classes, texts])
    by_others = _activation(pictures.others, together, temperature)
    gain = (by_others - _activation(pictures.confirmed, together, temperature))[len(classes) :].cpu()
    ranked = torch.argsort(gain, descending=True, stable=True)[:count]
    return ranked[gain[ranked] > 0.0]


def purity(confirmed: int, others: int, yes_rate: float) -> float:
    """Return rho in [0, 1]: the share of N that is more than ID pictures which the judge failed to confirm.

    ``rho = clip(1 - (1 - a) * (|Y| / a) / |N|, 0, 1)``: of |Y| / a ID pictures asked about, the share 1 - a is in N.

    Args:
        confirmed: |Y|.
        others: |N|.
        yes_rate: a, the judge's yes-rate among pictures that are ID with hardly a doubt; below `LOWEST_YES_RATE` it
            counts as that.

    Raises:
        ValueError: a count below 0, or a rate outside [0, 1].
    """
    if confirmed < 0 or others < 0 or not 0.0 <= yes_rate <= 1.0:
        raise ValueError(f"counts must be at least 0 and the rate in [0, 1], not {confirmed}, {others} and {yes_rate}")
    rate = max(yes_rate, LOWEST_YES_RATE)
    missed = (1.0 - rate) * confirmed / rate
    return min(1.0, max(0.0, 1.0 - missed / others)) if others else 0.0


def with_pictures(text_log_odds: Tensor, vote: Tensor, weight: float) -> Tensor:
    """Return the final log-odds (N,): the text votes' pooled log-odds plus rho times z_P; ``id_score`` is its sigmoid.

    Args:
        text_log_odds: ``(N,)``, see `ants_engine.method.pool.Votes.log_odds`.
        vote: ``(N,)`` z_P.
        weight: rho.
    """
    return text_log_odds + weight * vote


def _activation(features: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """Return each text's mean softmax probability (M,) float64 over pictures ``(n, D)``."""
    total = torch.zeros(len(texts), dtype=torch.float64, device=features.device)
    for rows in torch.split(features, max(1, _CELLS // len(texts))):
        total += (rows @ texts.T).div_(temperature).softmax(dim=1).sum(dim=0, dtype=torch.float64)
    return total / len(features)


def _blocks(features: Tensor, keys: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(features, _ROWS), torch.split(keys, _ROWS), strict=True)


def _log_mean(features: Tensor, keys: Tensor, pictures: Tensor, picture_keys: Tensor) -> Tensor:
    """Return log mean exp(v.x / tau') (n,) over pictures, each row's own left out."""
    cosines = products(features, pictures)
    own = ((keys[:, None] == picture_keys) & (keys[:, None] >= 0)) | (cosines > SAME)
    logits = cosines.div_(TEMPERATURE).masked_fill_(own, -torch.inf)
    count = (~own).sum(dim=1)
    found = torch.logsumexp(logits, dim=1) - count.clamp(min=1).to(logits.dtype).log()
    # where all of them are the picture itself, it looks like them as much as can be
    return torch.where(count > 0, found, 1.0 / TEMPERATURE)
