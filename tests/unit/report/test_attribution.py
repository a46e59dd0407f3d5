from dataclasses import replace

import pytest
import torch

from ants_engine.detector.detector import ActivationRanking, Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.report.texts import attribute
from tests.unit.detector.detectors import DIM, small_detector, unit_rows

PICTURES = unit_rows(60, 21)
FOREIGN = torch.arange(60) % 3 == 0


def scored(detector: Detector, features: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(detector.score(features).id_score)


def detectors() -> dict[str, Detector]:
    plain = small_detector(7, 5)
    return {
        "two banks": plain,
        "in groups": replace(small_detector(9, 8), group_length=3),
        "union": replace(plain, fusion="union"),
        "union of one": replace(small_detector(0, 5), fusion="union"),
        "ranked": replace(plain, activation=ActivationRanking(torch.tensor([4, 1, 6, 0, 2]), 2)),
        "no sentences": small_detector(0, 5),
        "no look-alikes": small_detector(6, 0),
        "the lexicon alone": small_detector(0, 0),
    }


@pytest.mark.parametrize("name", list(detectors()))
def test_a_pictures_shares_are_what_its_score_lacks(name: str) -> None:
    detector = detectors()[name]
    scores = scored(detector, PICTURES)
    found = attribute(detector, PICTURES, scored(detector, PICTURES), FOREIGN)
    assert found.moved.sum().item() == pytest.approx(float((1 - scores).double().mean()), abs=1e-5)
    both = (found.moved_id * (~FOREIGN).sum() + found.moved_ood * FOREIGN.sum()) / len(PICTURES)
    torch.testing.assert_close(both, found.moved)
    assert (found.amounts[:, 0] >= found.amounts[:, 1]).all()
    assert int(found.leading.sum()) == len(PICTURES)
    for text in range(len(found.moved)):
        led = found.top[:, 0] == text
        assert int(led.sum()) == int(found.leading[text])


def test_what_weighed_most_is_told_with_its_picture() -> None:
    detector = small_detector(7, 5)
    found = attribute(detector, PICTURES, scored(detector, PICTURES), FOREIGN)
    for text in range(len(found.moved)):
        row = int(found.most_picture[text])
        where = (found.top[row] == text).nonzero().flatten()
        if len(where):
            assert float(found.amounts[row, where[0]]) == pytest.approx(float(found.most[text]))


@pytest.mark.parametrize("name", ["two banks", "in groups"])
def test_decisive_are_those_without_which_the_verdict_would_change(name: str) -> None:
    detector = detectors()[name]
    if name == "in groups":
        # taking a text out would cut the groups anew; with one group a bank it does not
        detector = replace(detector, group_length=None)
    scores = detector.score(PICTURES).id_score
    detector = replace(detector, threshold=float(sorted(scores)[30]))
    found = attribute(detector, PICTURES, scored(detector, PICTURES), FOREIGN)
    assert found.decisive is not None
    assert int(found.decisive.sum()) > 0
    number = 0
    for kind in ("ens", "vsnl"):
        bank: NegativeBank = getattr(detector, kind)
        for row in range(len(bank)):
            kept = [other for other in range(len(bank)) if other != row]
            fewer = NegativeBank(
                bank.kind, tuple(bank.texts[i] for i in kept), tuple(bank.sources[i] for i in kept), bank.features[kept]
            )
            without = replace(detector, **{kind: fewer}).score(PICTURES).id_score
            changed = int(((scores < detector.threshold) & (without >= detector.threshold)).sum())
            assert int(found.decisive[number]) == changed
            number += 1


def test_where_it_is_not_defined_nothing_is_called_decisive() -> None:
    for name in ("union", "ranked"):
        detector = detectors()[name]
        assert attribute(detector, PICTURES, scored(detector, PICTURES), FOREIGN).decisive is None


def test_blocks_make_no_difference() -> None:
    many = unit_rows(700, 5, DIM)
    foreign = torch.zeros(700, dtype=torch.bool)
    detector = small_detector(7, 5)
    found = attribute(detector, many, scored(detector, many), foreign)
    alone = attribute(detector, many[600:601], scored(detector, many[600:601]), foreign[:1])
    torch.testing.assert_close(found.amounts[600], alone.amounts[0])
    assert found.most[0] >= alone.most[0]
    assert torch.isnan(found.moved_ood).all()
