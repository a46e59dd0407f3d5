"""The fourth witness: pictures that the MLLM has verified, as prototypes.

Every answer to verify-or-describe is also a label of a picture: Y are the pictures that it confirmed to be of an ID
class, N all others that it was asked about. A picture v is compared with both:

    z_P = log mean_{i in Y} exp(v.x_i / tau') - log mean_{j in N} exp(v.x_j / tau'),  tau' = 0.1,

never with itself. At low prevalence most of N is ID pictures that the MLLM failed to confirm, so the vote is weighted
by rho, the share of N that is more than these (see `purity`). The final score is
``sigmoid(mean of the text votes + rho * z_P)``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

FEWEST, MOST = 3, 2000
"""Pictures of each kind: with fewer there is no vote, of more the latest are kept."""
TEMPERATURE = 0.1
"""tau': of pictures compared with pictures, whose cosines are far higher than those with texts."""
LOWEST_YES_RATE = 0.3
"""A judge that confirms less than this of ID pictures is taken for one that confirms so many."""
_ROWS = 1024


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


def _blocks(features: Tensor, keys: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(features, _ROWS), torch.split(keys, _ROWS), strict=True)


def _log_mean(features: Tensor, keys: Tensor, pictures: Tensor, picture_keys: Tensor) -> Tensor:
    """Return log mean exp(v.x / tau') (n,) over pictures, each row's own left out."""
    own = (keys[:, None] == picture_keys) & (keys[:, None] >= 0)
    logits = (features @ pictures.T).div_(TEMPERATURE).masked_fill_(own, -torch.inf)
    count = (~own).sum(dim=1)
    return torch.logsumexp(logits, dim=1) - count.to(logits.dtype).log()
