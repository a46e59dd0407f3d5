from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ants_engine.detector.detector import ActivationRanking, Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.report.projection import centred, maps
from ants_engine.report.texts import attribute, text_rows
from tests.unit.detector.detectors import DIM, bank, small_detector, unit_rows

PICTURES = unit_rows(30, 4)
NAMES = [f"folder/{row}.png" for row in range(30)]


def with_sentences(features: torch.Tensor, sources: tuple[str, ...] | None = None) -> Detector:
    texts = tuple(f"sentence {row}" for row in range(len(features)))
    detector = small_detector()
    return replace(detector, ens=NegativeBank("ens", texts, sources or ("elsewhere.png",) * len(texts), features))


def test_a_sentence_nearer_to_a_class_than_to_what_it_should_catch_is_marked() -> None:
    classes = small_detector().class_features
    foreign = unit_rows(3, 77)
    # one sentence on a class, one on each picture that should be caught
    detector = with_sentences(torch.cat([classes[1:2], foreign]))
    middle = torch.cat([classes, detector.ens.features]).mean(dim=0)
    to_catch = foreign - middle
    to_catch = to_catch / to_catch.norm(dim=1, keepdim=True)
    rows = text_rows(detector, None, [], (), to_catch).texts
    sentences = [text for text in rows if text.kind == "ens"]
    assert [text.suspect for text in sentences] == [True, False, False, False]
    assert sentences[0].nearest_class == 1
    assert sentences[0].class_nearness is not None
    assert sentences[0].class_nearness > 0.999


def test_a_shift_of_all_texts_together_changes_no_mark() -> None:
    foreign = centred(unit_rows(20, 6))[:2]
    detector = with_sentences(unit_rows(24, 8))
    gap = torch.nn.functional.normalize(torch.ones(DIM), dim=0) * 3
    shifted = replace(
        detector,
        class_features=detector.class_features + gap,
        ens=replace(detector.ens, features=detector.ens.features + gap),
    )
    marks = [
        [text.suspect for text in text_rows(each, None, [], (), foreign).texts if text.kind == "ens"]
        for each in (detector, shifted)
    ]
    assert marks[0] == marks[1]
    assert len(set(marks[0])) == 2


def test_with_nothing_to_catch_nothing_is_marked() -> None:
    rows = text_rows(with_sentences(unit_rows(4, 8)), None, [], (), torch.zeros(0, DIM)).texts
    assert not any(text.suspect for text in rows)
    assert all(text.catch_nearness is None for text in rows)
    assert all(text.moved is None for text in rows)


def test_words_of_the_lexicon_are_told_only_where_they_weigh() -> None:
    detector = replace(small_detector(0, 0), initial=bank("neglabel", 40, 2), groups=1)
    scores = torch.from_numpy(detector.score(PICTURES).id_score)
    found = attribute(detector, PICTURES, scores, torch.zeros(30, dtype=torch.bool))
    rows = text_rows(detector, found, list(range(30)), NAMES, torch.zeros(0, DIM))
    named = {int(number) for number in found.top.flatten()}
    assert len(rows.texts) == len(named) < 40
    for weighed, top in zip(rows.weighed, found.top.tolist(), strict=True):
        assert [rows.texts[one.text].text for one in weighed] == [detector.initial.texts[number] for number in top]


def test_a_described_picture_is_found_by_its_name_or_its_path() -> None:
    absolute = str(Path("folder/7.png").absolute())
    detector = with_sentences(unit_rows(3, 1), ("folder/3.png", absolute, "gone.png"))
    rows = text_rows(detector, None, [], NAMES, torch.zeros(0, DIM)).texts
    assert [text.picture for text in rows if text.kind == "ens"] == [3, 7, None]


def test_a_map_has_a_place_for_everything_that_can_be_placed() -> None:
    readable = [row != 2 for row in range(30)]
    rows = [row for row in range(30) if row != 2]
    (one,) = (m for m in maps(PICTURES, rows, unit_rows(3, 1), unit_rows(5, 2)) if m.method == "PCA")
    assert [place is not None for place in one.pictures] == readable
    assert (len(one.classes), len(one.texts)) == (3, 5)
    assert one.explained is not None
    assert 0 < one.explained[1] <= one.explained[0] < 1


ATTRIBUTED = unit_rows(60, 21)
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
    scores = scored(detector, ATTRIBUTED)
    found = attribute(detector, ATTRIBUTED, scored(detector, ATTRIBUTED), FOREIGN)
    assert found.moved.sum().item() == pytest.approx(float((1 - scores).double().mean()), abs=1e-5)
    both = (found.moved_id * (~FOREIGN).sum() + found.moved_ood * FOREIGN.sum()) / len(ATTRIBUTED)
    torch.testing.assert_close(both, found.moved)
    assert (found.amounts[:, 0] >= found.amounts[:, 1]).all()
    assert int(found.leading.sum()) == len(ATTRIBUTED)
    for text in range(len(found.moved)):
        led = found.top[:, 0] == text
        assert int(led.sum()) == int(found.leading[text])


def test_what_weighed_most_is_told_with_its_picture() -> None:
    detector = small_detector(7, 5)
    found = attribute(detector, ATTRIBUTED, scored(detector, ATTRIBUTED), FOREIGN)
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
    scores = detector.score(ATTRIBUTED).id_score
    detector = replace(detector, threshold=float(sorted(scores)[30]))
    found = attribute(detector, ATTRIBUTED, scored(detector, ATTRIBUTED), FOREIGN)
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
            without = replace(detector, **{kind: fewer}).score(ATTRIBUTED).id_score
            changed = int(((scores < detector.threshold) & (without >= detector.threshold)).sum())
            assert int(found.decisive[number]) == changed
            number += 1


def test_where_it_is_not_defined_nothing_is_called_decisive() -> None:
    for name in ("union", "ranked"):
        detector = detectors()[name]
        assert attribute(detector, ATTRIBUTED, scored(detector, ATTRIBUTED), FOREIGN).decisive is None


def test_blocks_make_no_difference() -> None:
    many = unit_rows(700, 5, DIM)
    foreign = torch.zeros(700, dtype=torch.bool)
    detector = small_detector(7, 5)
    found = attribute(detector, many, scored(detector, many), foreign)
    alone = attribute(detector, many[600:601], scored(detector, many[600:601]), foreign[:1])
    torch.testing.assert_close(found.amounts[600], alone.amounts[0])
    assert found.most[0] >= alone.most[0]
    assert torch.isnan(found.moved_ood).all()
