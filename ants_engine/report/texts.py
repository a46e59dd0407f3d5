"""The negative texts of a report: how much each lowered each picture's ``id_score``, and where it lies.

One softmax over ID classes and a bank gives 1 - S = sum_j exp(l_j) / (E_id + E_bank), a sum over the texts. Groups and
ranked prefixes are means of such terms, and ``id_score`` weighs two banks. So every text has an exact share, and a
picture's shares sum to 1 - ``id_score``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ants_engine.common.terminal_text import plain
from ants_engine.detector.detector import ActivationRanking, Detector, EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.method.neglabel import Groups
from ants_engine.method.scoring import shift_by_id
from ants_engine.report.document import Text, Weighed
from ants_engine.report.projection import centred

ROWS_AT_ONCE = 256
TOP = 3
"""Texts kept per picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """How much M texts lowered the ``id_score`` of N pictures; texts are numbered through the banks in order."""

    banks: tuple[NegativeBank, ...]
    """Those that scoring uses: the lexicon's stands in for an empty one."""
    top: Tensor
    """(N, min(TOP, M)) int64: the texts that weighed most, heaviest first."""
    amounts: Tensor
    """(N, min(TOP, M)) float32: how much each of them lowered ``id_score``."""
    moved: Tensor
    """(M,) float64: mean over all pictures."""
    moved_id: Tensor
    moved_ood: Tensor
    """(M,) float64: mean over ID and over OOD pictures; NaN where there are none."""
    most: Tensor
    most_picture: Tensor
    """(M,): the most that each text lowered a picture's score, and which picture's (int64)."""
    leading: Tensor
    """(M,) int64: pictures for which no other text weighed more."""
    decisive: Tensor | None
    """(M,) int64: pictures that are OOD only because of this text; None where that is not defined."""


def attribute(detector: Detector, features: Tensor, scores: Tensor, is_ood: Tensor) -> Attribution:
    """Return the share of every text of the banks in every picture's score.

    Args:
        detector: as it scores now.
        features: (N, D) float32, L2-normalised, N at least 1.
        scores: (N,) float32, their ``id_score``.
        is_ood: (N,) bool: which pictures count for ``moved_ood``, and which for ``moved_id``.
    """
    banks = _used(detector)
    count = sum(len(bank) for bank in banks)
    kept = min(TOP, count)
    tops, amounts = [], []
    sums = torch.zeros(2, count, dtype=torch.float64)
    most, most_picture = torch.zeros(count), torch.zeros(count, dtype=torch.int64)
    leading, decisive = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)
    for start, shares, without in _blocks(detector, features, scores, banks):
        rows = is_ood[start : start + len(shares)]
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
    totals = torch.tensor([int((~is_ood).sum()), int(is_ood.sum())], dtype=torch.float64)
    means = sums / totals[:, None]
    return Attribution(
        banks=banks,
        top=torch.cat(tops),
        amounts=torch.cat(amounts),
        moved=sums.sum(dim=0) / len(features),
        moved_id=means[0],
        moved_ood=means[1],
        most=most,
        most_picture=most_picture,
        leading=leading,
        decisive=None if detector.union or detector.activation is not None else decisive,
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
    """Yield the first row, shares (n, M), and whether an OOD picture would be ID without the text (n, M)."""
    # only logits are read, so the lexicon's score may be anything
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
    """Return per bank the weight of its own 1 - S in 1 - ``id_score``, each (n,)."""
    if len(banks) == 1:
        return [torch.ones_like(scores[0])]
    if not detector.union:
        return [torch.full_like(scores[0], weight) for weight in (detector.weight, 1.0 - detector.weight)]
    # r = (1 - S) / S is a bank's mass relative to the ID classes; in one softmax 1 - S = (r + r') / (1 + r + r')
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
    """Do the same where S is the mean over growing prefixes of a ranking."""
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


@dataclass(frozen=True, slots=True, eq=False)
class ReportTexts:
    """The texts that a report lists."""

    texts: tuple[Text, ...]
    features: Tensor
    """(M, D), a row per text."""
    weighed: tuple[tuple[Weighed, ...], ...]
    """Per picture that was attributed."""


def text_rows(
    detector: Detector,
    found: Attribution | None,
    rows: Sequence[int],
    names: Sequence[str],
    to_catch: Tensor,
) -> ReportTexts:
    """Make a row of every sentence and look-alike, and of each word of the lexicon that led for some picture.

    Args:
        detector: its banks.
        found: the attribution of pictures, if there are any.
        rows: which of the report's pictures were attributed, in order.
        names: the report's pictures.
        to_catch: (K, D) features of pictures that the sentences should catch, about the mean of all pictures.
    """
    by_name = _by_name(names)
    near = _nearness(detector, to_catch)
    shown: list[Text] = []
    features: list[Tensor] = []
    place: dict[int, int] = {}
    leaders = set() if found is None else set(found.top.flatten().tolist())
    for bank, row, number in _numbered(detector, found):
        if bank.kind == "neglabel" and number not in leaders:
            continue
        values: dict[str, Any] = {}
        if found is not None and number is not None:
            place[number] = len(shown)
            values |= _effect(found, number, rows)
        if bank.kind == "ens":
            values |= near.get(row, {}) | {"picture": by_name.get(bank.sources[row])}
        shown.append(Text(text=plain(bank.texts[row]), kind=bank.kind, source=plain(bank.sources[row]), **values))
        features.append(bank.features[row])
    stacked = torch.stack(features) if features else torch.zeros(0, detector.dim)
    return ReportTexts(tuple(shown), stacked, () if found is None else _weighed(found, place))


def _numbered(detector: Detector, found: Attribution | None) -> list[tuple[NegativeBank, int, int | None]]:
    """List every bank's texts with their number in the attribution, if they have one."""
    numbered: list[tuple[NegativeBank, int, int | None]] = []
    used = () if found is None else found.banks
    for bank in used:
        first = len(numbered)
        numbered += [(bank, row, first + row) for row in range(len(bank))]
    for bank in (detector.ens, detector.vsnl):
        if not any(bank is one for one in used):
            numbered += [(bank, row, None) for row in range(len(bank))]
    return numbered


def _effect(found: Attribution, number: int, rows: Sequence[int]) -> dict[str, Any]:
    return {
        "moved": _number(found.moved[number]),
        "moved_known": _number(found.moved_id[number]),
        "moved_unknown": _number(found.moved_ood[number]),
        "most": _number(found.most[number]),
        "most_picture": rows[int(found.most_picture[number])],
        "leading": int(found.leading[number]),
        "decisive": None if found.decisive is None else int(found.decisive[number]),
    }


def _weighed(found: Attribution, place: Mapping[int, int]) -> tuple[tuple[Weighed, ...], ...]:
    return tuple(
        tuple(
            Weighed(text=place[number], amount=round(amount, 5))
            for number, amount in zip(numbers, amounts, strict=True)
            if amount > 0
        )
        for numbers, amounts in zip(found.top.tolist(), found.amounts.tolist(), strict=True)
    )


def _nearness(detector: Detector, to_catch: Tensor) -> dict[int, dict[str, Any]]:
    """Compare every sentence with the ID classes and with the pictures that it should catch."""
    if not len(detector.ens):
        return {}
    words = centred(torch.cat([detector.class_features, detector.ens.features]))
    classes, sentences = words[: len(detector.class_features)], words[len(detector.class_features) :]
    to_class = (sentences @ classes.T).max(dim=1)
    caught = (sentences @ to_catch.T).max(dim=1).values.tolist() if len(to_catch) else [None] * len(sentences)
    return {
        row: {
            "nearest_class": nearest,
            "class_nearness": round(nearness, 4),
            "catch_nearness": None if catch is None else round(catch, 4),
            "suspect": catch is not None and nearness > catch,
        }
        for row, (nearest, nearness, catch) in enumerate(
            zip(to_class.indices.tolist(), to_class.values.tolist(), caught, strict=True)
        )
    }


def _by_name(names: Sequence[str]) -> dict[str, int]:
    """Return the row of each picture by its name in a build, and by its absolute path."""
    found: dict[str, int] = {}
    for spelled in (names, [str(Path(name).absolute()) for name in names]):
        for row, name in enumerate(spelled):
            found.setdefault(name, row)
    return found


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else round(number, 6)
