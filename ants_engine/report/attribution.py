"""How much each negative text lowered each picture's ``id_score``: exact shares of 1 - S, not an estimate.

One softmax over ID classes and a bank gives 1 - S = sum_j exp(l_j) / (E_id + E_bank), a sum over the texts. Groups and
ranked prefixes are means of such terms, and ``id_score`` weighs two banks; so every text has a share, and a picture's
shares sum to 1 - ``id_score``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ants_engine.detector.detector import ActivationRanking, Detector, EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.method.grouping import Groups
from ants_engine.method.scoring import shift_by_id

ROWS_AT_ONCE = 256
TOP = 3
"""Texts kept per picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """What M texts did to N pictures; texts are counted through the banks one after the other."""

    banks: tuple[NegativeBank, ...]
    """Those that scoring uses: an empty one is stood in for by the lexicon's."""
    top: Tensor
    """(N, min(TOP, M)) int64: the texts that weighed most, most first."""
    amounts: Tensor
    """(N, min(TOP, M)) float32: how much each of them lowered ``id_score``."""
    moved: Tensor
    """(M,) float64: mean over all pictures."""
    moved_known: Tensor
    moved_foreign: Tensor
    """(M,) float64: mean over known and over unknown pictures; NaN where there are none."""
    most: Tensor
    most_picture: Tensor
    """(M,): the most that each text lowered a picture's score, and which picture's (int64)."""
    leading: Tensor
    """(M,) int64: pictures for which no other text weighed more."""
    decisive: Tensor | None
    """(M,) int64: pictures that are unknown only because of this text."""

    @property
    def count(self) -> int:
        """Return M."""
        return sum(len(bank) for bank in self.banks)


def attribute(detector: Detector, features: Tensor, scores: Tensor, foreign: Tensor) -> Attribution:
    """Say what every text of the banks did to every picture.

    Args:
        detector: as it scores now.
        features: (N, D) float32, L2-normalised, N at least 1.
        scores: (N,) float32, their ``id_score``.
        foreign: (N,) bool: which pictures count as unknown for ``moved_known`` and ``moved_foreign``.
    """
    banks = _used(detector)
    count = sum(len(bank) for bank in banks)
    kept = min(TOP, count)
    tops, amounts = [], []
    sums = torch.zeros(2, count, dtype=torch.float64)
    most, most_picture = torch.zeros(count), torch.zeros(count, dtype=torch.int64)
    leading, decisive = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    exact = not detector.union and detector.activation is None
    for start, shares, without in _blocks(detector, features, scores, banks):
        rows = foreign[start : start + len(shares)]
        sums[0] += shares[~rows].double().sum(dim=0)
        sums[1] += shares[rows].double().sum(dim=0)
        best = torch.topk(shares, kept, dim=1)
        tops.append(best.indices)
        amounts.append(best.values)
        highest = shares.max(dim=0)
        higher = highest.values > most
        most_picture = torch.where(higher, highest.indices + start, most_picture)
        most = torch.where(higher, highest.values, most)
        leading += torch.bincount(best.indices[:, 0], minlength=count) if kept else 0
        decisive += without.sum(dim=0)
    totals = torch.tensor([int((~foreign).sum()), int(foreign.sum())], dtype=torch.float64)
    means = sums / totals[:, None]
    return Attribution(
        banks=banks,
        top=torch.cat(tops),
        amounts=torch.cat(amounts),
        moved=sums.sum(dim=0) / len(features),
        moved_known=means[0],
        moved_foreign=means[1],
        most=most,
        most_picture=most_picture,
        leading=leading,
        decisive=decisive if exact else None,
    )


def _used(detector: Detector) -> tuple[NegativeBank, ...]:
    if detector.union:
        banks = tuple(bank for bank in (detector.ens, detector.vsnl) if len(bank))
        return banks or (detector.initial,)
    if not len(detector.ens) and not len(detector.vsnl):
        return (detector.initial,)
    return tuple(bank if len(bank) else detector.initial for bank in (detector.ens, detector.vsnl))


def _blocks(
    detector: Detector, features: Tensor, scores: Tensor, banks: tuple[NegativeBank, ...]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the first row, shares (n, M), and whether an unknown picture would be known without the text (n, M)."""
    # without a ranking, what is asked of the look is the softmax; it does not need the initial bank
    for start in range(0, len(features), ROWS_AT_ONCE):
        rows = features[start : start + ROWS_AT_ONCE]
        look = detector.relook(rows, torch.zeros(len(rows)))
        parts = [_shares(detector, look, bank) for bank in banks]
        weights = _weights(detector, banks, [1.0 - part.sum(dim=1) for part, _ in parts])
        shares = torch.cat([weight[:, None] * part for weight, (part, _) in zip(weights, parts, strict=True)], dim=1)
        gains = torch.cat([weight[:, None] * gain for weight, (_, gain) in zip(weights, parts, strict=True)], dim=1)
        own = scores[start : start + ROWS_AT_ONCE, None]
        yield start, shares, (own < detector.threshold) & (own + gains >= detector.threshold)


def _weights(detector: Detector, banks: tuple[NegativeBank, ...], scores: list[Tensor]) -> list[Tensor]:
    """Return per bank what a share of its own 1 - S weighs in 1 - ``id_score``, each (n,)."""
    if len(banks) == 1:
        return [torch.ones_like(scores[0])]
    if not detector.union:
        return [torch.full_like(scores[0], weight) for weight in (detector.weight, 1.0 - detector.weight)]
    # r = (1 - S) / S is a bank's mass over the ID classes'; in one softmax 1 - S = (r + r') / (1 + r + r')
    tiny = torch.finfo(torch.float32).tiny
    ratios = [(1.0 - score) / score.clamp(min=tiny) for score in scores]
    mass = 1.0 + ratios[0] + ratios[1]
    return [1.0 / (score.clamp(min=tiny) * mass) for score in scores]


def _shares(detector: Detector, look: EncodedBatch, bank: NegativeBank) -> tuple[Tensor, Tensor]:
    """Return each text's share of 1 - S against a bank (n, m), and how much S would rise without it (n, m)."""
    negatives = detector.bank_logits(look, bank)
    if bank.kind == "ens" and detector.activation is not None:
        return _ranked(look.id_logits, negatives, detector.activation)
    return _grouped(look.id_logits, negatives, detector.groups_of(bank))


def _grouped(id_logits: Tensor, negatives: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    id_part, logits = shift_by_id(id_logits, negatives)
    order = groups.order if groups.order is not None else torch.arange(logits.shape[1])
    shares, gains = torch.zeros_like(logits), torch.zeros_like(logits)
    start = 0
    for size in groups.sizes:
        columns = order[start : start + size]
        own = logits[:, columns]
        everything = torch.logaddexp(id_part, torch.logsumexp(own, dim=1))
        share, id_share = torch.exp(own - everything[:, None]), torch.exp(id_part - everything)
        shares[:, columns] = share / len(groups.sizes)
        tiny = torch.finfo(share.dtype).eps
        gains[:, columns] = id_share[:, None] * share / (1.0 - share).clamp(min=tiny) / len(groups.sizes)
        start += size
    return shares, gains


def _ranked(id_logits: Tensor, negatives: Tensor, ranking: ActivationRanking) -> tuple[Tensor, Tensor]:
    """Do the same where S is the mean over ever longer beginnings of a ranking."""
    id_part, logits = shift_by_id(id_logits, negatives)
    ranked = logits[:, ranking.rows]
    count = ranked.shape[1]
    ends = torch.arange(ranking.step, count + ranking.step, ranking.step).clamp(max=count) - 1
    everything = torch.logaddexp(id_part[:, None], torch.logcumsumexp(ranked, dim=1)[:, ends])
    shares = torch.zeros_like(logits)
    for column, end in enumerate(ends.tolist()):
        part = torch.exp(ranked[:, : end + 1] - everything[:, column : column + 1]) / len(ends)
        shares[:, ranking.rows[: end + 1]] += part
    return shares, torch.zeros_like(shares)
