"""The pictures' vote against its formula written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method import verified
from ants_engine.method.verified import VerifiedPictures, activated_texts, purity, with_pictures
from tests.unit.detector.detectors import unit_rows


def literal(features: torch.Tensor, pictures: torch.Tensor, own: list[int]) -> list[float]:
    found = []
    for row, feature in enumerate(features.double()):
        terms = [math.exp(float(feature @ other.double()) / 0.1) for at, other in enumerate(pictures) if at != own[row]]
        found.append(math.log(sum(terms) / len(terms)))
    return found


@given(count=st.integers(1, 9), yes=st.integers(3, 12), no=st.integers(3, 12), seed=st.integers(0, 99))
def test_the_vote_is_the_formula(count: int, yes: int, no: int, seed: int) -> None:
    features, pictures = unit_rows(count, seed, 8), unit_rows(yes + no, seed + 1, 8)
    answered = torch.arange(yes + no) < yes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified, "_ROWS", 4)
        vote = VerifiedPictures.of(pictures, answered).vote(features)
    none = [-1] * count
    wanted = torch.tensor(literal(features, pictures[:yes], none)) - torch.tensor(
        literal(features, pictures[yes:], none)
    )
    torch.testing.assert_close(vote, wanted, atol=2e-5, rtol=0)


def test_a_picture_is_not_compared_with_itself() -> None:
    pictures = unit_rows(9, 0, 8)
    answered = torch.tensor([True, False, True, True, False, False, True, False, True])
    keys = torch.arange(9) * 10
    kept = VerifiedPictures.of(pictures, answered, keys)
    vote = kept.vote(pictures, keys)
    yes, no = torch.nonzero(answered).flatten().tolist(), torch.nonzero(~answered).flatten().tolist()
    own_yes = [yes.index(row) if row in yes else -1 for row in range(9)]
    own_no = [no.index(row) if row in no else -1 for row in range(9)]
    wanted = torch.tensor(literal(pictures, pictures[yes], own_yes)) - torch.tensor(
        literal(pictures, pictures[no], own_no)
    )
    torch.testing.assert_close(vote, wanted, atol=2e-5, rtol=0)
    # without keys, it is known by its features
    torch.testing.assert_close(kept.vote(pictures), vote, atol=0, rtol=0)
    near = torch.nn.functional.normalize(pictures + 0.01 * unit_rows(9, 1, 8), dim=1)
    other = kept.vote(near)
    assert bool((other[answered] > vote[answered]).all())
    assert bool((other[~answered] < vote[~answered]).all())


@pytest.mark.parametrize(("yes", "no"), [(2, 9), (9, 2), (0, 0)])
def test_with_few_pictures_of_a_kind_there_is_no_vote(yes: int, no: int) -> None:
    kept = VerifiedPictures.of(unit_rows(yes + no, 1, 8), torch.arange(yes + no) < yes)
    assert not kept.votes
    assert kept.vote(unit_rows(4, 2, 8)).tolist() == [0.0] * 4


def test_the_latest_are_kept() -> None:
    count = 2 * verified.MOST + 10
    features, answered = unit_rows(count, 3, 2), torch.arange(count) % 2 == 0
    kept = VerifiedPictures.of(features, answered, torch.arange(count))
    assert len(kept.confirmed) == len(kept.others) == verified.MOST
    assert kept.confirmed_keys.tolist() == list(range(10, count, 2))


def test_the_nearest_confirmed_picture_is_found() -> None:
    pictures = unit_rows(8, 4, 16)
    kept = VerifiedPictures.of(pictures, torch.arange(8) % 2 == 0)
    row, cosine = kept.nearest(pictures[[4, 0]])
    assert row.tolist() == [2, 0]
    torch.testing.assert_close(cosine, torch.ones(2))
    with pytest.raises(ValueError, match="no picture"):
        VerifiedPictures.of(pictures, torch.zeros(8, dtype=torch.bool)).nearest(pictures)


def test_purity_is_what_the_judge_did_not_miss() -> None:
    # of 90 ID pictures 81 are confirmed at a rate of 0.9; the 9 others are all that N holds
    assert purity(81, 9, 0.9) == pytest.approx(0.0)
    assert purity(81, 90, 0.9) == pytest.approx(0.9)
    assert purity(10, 100, 1.0) == 1.0
    assert purity(300, 10, 0.5) == 0.0
    assert purity(5, 0, 0.9) == 0.0
    assert purity(3, 100, 0.0) == purity(3, 100, 0.3) == pytest.approx(0.93)


@pytest.mark.parametrize("given", [(-1, 1, 0.5), (1, -1, 0.5), (1, 1, 1.5), (1, 1, math.nan)])
def test_purity_refuses_what_cannot_be(given: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="counts"):
        purity(*given)


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="3 features, 2 answers"):
        VerifiedPictures.of(unit_rows(3, 0, 4), torch.ones(2, dtype=torch.bool))
    kept = VerifiedPictures.of(unit_rows(8, 0, 4), torch.arange(8) < 4)
    with pytest.raises(ValueError, match="2 features and 1 keys"):
        kept.vote(unit_rows(2, 0, 4), torch.zeros(1, dtype=torch.int64))


def test_the_final_log_odds_are_weighed_by_purity() -> None:
    text, vote = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 2.0])
    assert with_pictures(text, vote, 0.0).tolist() == text.tolist()
    assert with_pictures(text, vote, 0.5).tolist() == [3.0, -1.0]


def test_texts_that_only_other_pictures_activate_are_picked() -> None:
    directions = torch.eye(8)
    # words 0 and 1 are what the others show, word 2 is what confirmed pictures show, word 3 nobody's
    words = directions[[2, 3, 1, 7]]
    features = torch.cat([directions[[0, 1]].repeat(10, 1), directions[[2, 2, 2, 3]]])
    answered = torch.arange(24) < 20
    kept = VerifiedPictures.of(features, answered)
    classes = directions[[0, 5]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verified, "_CELLS", 12)
        assert activated_texts(kept, classes, words, 0.05).tolist() == [0, 1]
    assert activated_texts(kept, classes, words, 0.05, count=1).tolist() == [0]
    # ID pictures that the MLLM failed to confirm do not make a word of theirs an activated one
    missed = torch.cat([features, directions[[1]]])
    answers = torch.cat([answered, torch.tensor([False])])
    assert activated_texts(VerifiedPictures.of(missed, answers), classes, words, 0.05).tolist() == [0, 1]


@given(yes=st.integers(3, 9), no=st.integers(3, 9), count=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_most_activated_texts_come_first(yes: int, no: int, count: int, seed: int) -> None:
    features, classes, texts = unit_rows(yes + no, seed, 8), unit_rows(3, seed + 1, 8), unit_rows(12, seed + 2, 8)
    answered = torch.arange(yes + no) < yes
    logits = features.double() @ torch.cat([classes, texts]).double().T / 0.1
    share = logits.softmax(dim=1)[:, 3:]
    gain = share[~answered].mean(dim=0) - share[answered].mean(dim=0)
    picked = activated_texts(VerifiedPictures.of(features, answered), classes, texts, 0.1, count)
    assert len(picked) == min(count, int((gain > 0).sum()))
    assert picked.tolist() == torch.argsort(gain, descending=True)[: len(picked)].tolist()


def test_too_few_pictures_say_nothing_of_texts() -> None:
    kept = VerifiedPictures.of(unit_rows(4, 0, 8), torch.arange(4) < 2)
    with pytest.raises(ValueError, match="2 confirmed and 2 other pictures; at least 3"):
        activated_texts(kept, unit_rows(2, 1, 8), unit_rows(2, 2, 8), 0.1)
