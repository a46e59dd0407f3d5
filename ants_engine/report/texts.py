"""The negative texts of a report: how much each lowered each picture's ``id_score``, and where it lies."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ants_engine.common.terminal_text import plain
from ants_engine.detector.detector import ActivationRanking, Detector, EncodedBatch
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.method.grouping import Groups
from ants_engine.method.scoring import shift_by_id
from ants_engine.report.document import Text, Weighed
from ants_engine.report.projection import centred

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


@dataclass(frozen=True, slots=True, eq=False)
class ReportTexts:
    """Texts of a report, and the numbers of those that an attribution counts."""

    texts: tuple[Text, ...]
    features: Tensor
    """(M, D), a row a text."""
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
        found: what the texts did to pictures, if there are any.
        rows: which of the report's pictures were attributed, in order.
        names: the report's pictures.
        to_catch: (K, D) features of pictures that the sentences should catch, about the mean of all pictures.
    """
    by_name = _by_name(names)
    near = _nearness(detector, to_catch)
    shown: list[Text] = []
    features: list[Tensor] = []
    place: dict[int, int] = {}
    counted = _counted(detector, found)
    leaders = set() if found is None else set(found.top.flatten().tolist())
    for bank, row, number in counted:
        if bank.kind == "neglabel" and number not in leaders:
            continue
        if number is not None:
            place[number] = len(shown)
        effect = {} if found is None or number is None else _effect(found, number, rows)
        place_near = near.get(row, {}) if bank is detector.ens and bank.kind == "ens" else {}
        shown.append(
            Text.model_validate(
                {
                    "text": plain(bank.texts[row]),
                    "kind": bank.kind,
                    "source": plain(bank.sources[row]),
                    "picture": by_name.get(bank.sources[row]) if bank.kind == "ens" else None,
                    **effect,
                    **place_near,
                }
            )
        )
        features.append(bank.features[row])
    stacked = torch.stack(features) if features else torch.zeros(0, detector.dim)
    return ReportTexts(tuple(shown), stacked, () if found is None else _weighed(found, place))


def _counted(detector: Detector, found: Attribution | None) -> list[tuple[NegativeBank, int, int | None]]:
    """List every bank's texts with the number that the attribution counts them by."""
    counted: list[tuple[NegativeBank, int, int | None]] = []
    number = 0
    used = () if found is None else found.banks
    for bank in used:
        counted += [(bank, row, number + row) for row in range(len(bank))]
        number += len(bank)
    for bank in (detector.ens, detector.vsnl):
        if not any(bank is one for one in used):
            counted += [(bank, row, None) for row in range(len(bank))]
    return counted


def _effect(found: Attribution, number: int, rows: Sequence[int]) -> dict[str, float | int | None]:
    return {
        "moved": _number(found.moved[number]),
        "moved_known": _number(found.moved_known[number]),
        "moved_unknown": _number(found.moved_foreign[number]),
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


def _nearness(detector: Detector, to_catch: Tensor) -> dict[int, dict[str, float | int | bool | None]]:
    """Compare every sentence with the ID classes and with the pictures that it should catch."""
    if not len(detector.ens):
        return {}
    words = centred(torch.cat([detector.class_features, detector.ens.features]))
    classes, sentences = words[: len(detector.class_features)], words[len(detector.class_features) :]
    to_class = (sentences @ classes.T).max(dim=1)
    caught = (sentences @ to_catch.T).max(dim=1).values if len(to_catch) else None
    near: dict[int, dict[str, float | int | bool | None]] = {}
    for row in range(len(sentences)):
        class_nearness = float(to_class.values[row])
        catch = None if caught is None else float(caught[row])
        near[row] = {
            "nearest_class": int(to_class.indices[row]),
            "class_nearness": round(class_nearness, 4),
            "catch_nearness": None if catch is None else round(catch, 4),
            "suspect": catch is not None and class_nearness > catch,
        }
    return near


def _by_name(names: Sequence[str]) -> dict[str, int]:
    """Find a picture by the name that a build gave it, or by its absolute path."""
    found: dict[str, int] = {}
    for row, name in enumerate(names):
        found.setdefault(name, row)
    for row, name in enumerate(names):
        found.setdefault(str(Path(name).absolute()), row)
    return found


def _number(value: Tensor) -> float | None:
    number = float(value)
    return None if math.isnan(number) else round(number, 6)
