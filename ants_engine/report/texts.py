"""The negative texts as rows: where each came from, what it did, and whether it sits on the wrong side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ants_engine.common.terminal_text import plain
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.report.attribution import Attribution
from ants_engine.report.document import Text, Weighed
from ants_engine.report.projection import centred


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
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
) -> TextRows:
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
    return TextRows(tuple(shown), stacked, () if found is None else _weighed(found, place))


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
