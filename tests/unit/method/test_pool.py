"""The log-opinion pool against its formulas written out in float64, and what must hold of any pool."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ants_engine.method.masses import Cut, IdMass, bank_masses
from ants_engine.method.neglabel import equal_sizes
from ants_engine.method.pool import Votes, bank_vote, grouped_vote, log_masses, votes_of
from tests.unit.detector.detectors import unit_rows

DIM = 8
TAUS = st.sampled_from([0.002, 0.01, 0.1, 1.0])


def cut(count: int, groups: int, seed: int, dtype: torch.dtype = torch.float32) -> Cut:
    return Cut(unit_rows(count, seed, DIM).to(dtype), equal_sizes(count, groups))


def all_votes(features: Tensor, classes: Tensor, tau: float, **banks: Cut | None) -> Votes:
    scaled = features / tau
    given = {"lexicon": None, "sentences": None, "look_alikes": None} | banks
    return votes_of(scaled, IdMass.of(scaled @ classes.T), **given)


def literal(features: Tensor, classes: Tensor, bank: Cut, tau: float, rated: float | None) -> Tensor:
    """The logit of the mean score over groups, in float64 and with no regard to range."""
    ids = (features.double() @ classes.double().T / tau).exp().sum(dim=1)
    negatives = (features.double() @ bank.features.double().T / tau).exp()
    odds = []
    for mass, size in zip(negatives.split(list(bank.sizes), dim=1), bank.sizes, strict=True):
        odds.append(ids / (mass.sum(dim=1) * (rated / size if rated else 1.0)))
    known = torch.stack([ratio / (1 + ratio) for ratio in odds]).sum(dim=0)
    unknown = torch.stack([1 / (1 + ratio) for ratio in odds]).sum(dim=0)
    return known.log() - unknown.log()


@given(
    rows=st.integers(1, 6),
    sizes=st.tuples(*[st.integers(1, 40)] * 3),
    groups=st.tuples(*[st.integers(1, 6)] * 3),
    tau=TAUS,
    seed=st.integers(0, 99),
)
def test_every_vote_is_the_formula(
    rows: int, sizes: tuple[int, ...], groups: tuple[int, ...], tau: float, seed: int
) -> None:
    features, classes = unit_rows(rows, seed, DIM).double(), unit_rows(3, seed + 1, DIM).double()
    banks = [cut(*pair, seed + 2 + at, torch.float64) for at, pair in enumerate(zip(sizes, groups, strict=True))]
    votes = all_votes(features, classes, tau, lexicon=banks[0], sentences=banks[1], look_alikes=banks[2])
    wanted = [literal(features, classes, bank, tau, rated) for bank, rated in zip(banks, (None, 100, 100), strict=True)]
    for vote, exact in zip(votes.given().values(), wanted, strict=True):
        torch.testing.assert_close(vote, exact, atol=1e-7, rtol=1e-9)
    torch.testing.assert_close(votes.log_odds(), torch.stack(wanted).mean(dim=0), atol=1e-7, rtol=1e-9)


@given(count=st.integers(1, 60), groups=st.integers(1, 6), tau=TAUS, seed=st.integers(0, 99))
def test_float32_is_as_good_as_its_logits(count: int, groups: int, tau: float, seed: int) -> None:
    features, classes, bank = unit_rows(5, seed, DIM), unit_rows(3, seed + 1, DIM), cut(count, groups, seed + 2)
    votes = all_votes(features, classes, tau, lexicon=bank, sentences=bank)
    for vote, rated in ((votes.lexicon, None), (votes.sentences, 100.0)):
        assert vote is not None
        assert vote.dtype == torch.float32
        # a logit is 1 / tau long and carries float32's rounding
        torch.testing.assert_close(vote.double(), literal(features, classes, bank, tau, rated), atol=4e-6 / tau, rtol=0)


@given(
    count=st.integers(1, 60), groups=st.integers(1, 6), tau=st.sampled_from([0.05, 0.1, 1.0]), seed=st.integers(0, 99)
)
def test_without_sentences_and_look_alikes_it_is_neglabel(count: int, groups: int, tau: float, seed: int) -> None:
    features, classes, bank = unit_rows(5, seed, DIM), unit_rows(3, seed + 1, DIM), cut(count, groups, seed + 2)
    votes = all_votes(features, classes, tau, lexicon=bank)
    id_mass = IdMass.of(features / tau @ classes.T)
    masses, _ = bank_masses(features / tau, bank, id_mass.top)
    torch.testing.assert_close(votes.score(), id_mass.score(masses), atol=2e-5, rtol=0)
    assert list(votes.given()) == ["lexicon"]


@given(value=st.floats(-300, 300), voters=st.integers(1, 3))
def test_where_the_votes_agree_so_does_the_pool(value: float, voters: int) -> None:
    vote = torch.tensor([value], dtype=torch.float64)
    votes = Votes(*[vote if at < voters else None for at in range(3)])
    torch.testing.assert_close(votes.log_odds(), vote)
    torch.testing.assert_close(votes.score(), vote.sigmoid())


def test_the_pool_lies_between_its_votes_and_rises_with_each() -> None:
    lexicon, sentences, look_alikes = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)) * 20
    pooled = Votes(lexicon, sentences, look_alikes).log_odds()
    together = torch.stack([lexicon, sentences, look_alikes])
    assert bool((together.amin(dim=0) <= pooled + 1e-5).all())
    assert bool((pooled <= together.amax(dim=0) + 1e-5).all())
    for place in range(3):
        raised = together.clone()
        raised[place] += 1.0
        assert bool((Votes(*raised).log_odds() > pooled).all())


def test_a_text_nearer_to_the_picture_never_makes_it_more_in_distribution() -> None:
    feature, classes = unit_rows(1, 0, DIM), unit_rows(3, 1, DIM)
    rest, away = unit_rows(12, 2, DIM), unit_rows(1, 3, DIM)
    scores = []
    for step in torch.linspace(0, 1, 11):
        text = torch.nn.functional.normalize((1 - step) * away + step * feature, dim=1)
        bank = Cut(torch.cat([rest, text]), (7, 6))
        scores.append(float(all_votes(feature, classes, 0.05, lexicon=bank, sentences=bank).log_odds()))
    assert scores == sorted(scores, reverse=True)


def test_the_order_of_texts_within_a_group_does_not_matter() -> None:
    features, classes, bank = unit_rows(6, 0, DIM), unit_rows(3, 1, DIM), cut(40, 2, 2)
    shuffled = torch.cat(
        [
            part[torch.randperm(20, generator=torch.Generator().manual_seed(at))]
            for at, part in enumerate(torch.split(bank.features, 20))
        ]
    )
    first = all_votes(features, classes, 0.01, lexicon=bank, sentences=bank)
    second = all_votes(features, classes, 0.01, lexicon=Cut(shuffled, (20, 20)), sentences=Cut(shuffled, (20, 20)))
    torch.testing.assert_close(first.log_odds(), second.log_odds(), atol=1e-3, rtol=0)


def test_a_bank_of_the_same_texts_twice_votes_the_same() -> None:
    features, classes, bank = unit_rows(6, 0, DIM), unit_rows(3, 1, DIM), unit_rows(30, 2, DIM)
    once = all_votes(features, classes, 0.01, sentences=Cut(bank, (30,))).log_odds()
    twice = all_votes(features, classes, 0.01, sentences=Cut(bank.repeat(2, 1), (60,))).log_odds()
    torch.testing.assert_close(once, twice, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tau", [1e-5, 1e-3])
@pytest.mark.parametrize("groups", [1, 5])
def test_saturated_logits_keep_their_order(tau: float, groups: int) -> None:
    features, classes, bank = unit_rows(50, 0, DIM), unit_rows(3, 1, DIM), cut(20, groups, 2)
    votes = all_votes(features, classes, tau, lexicon=bank, sentences=bank, look_alikes=bank)
    assert votes.lexicon is not None
    assert bool(votes.log_odds().isfinite().all())
    assert bool(votes.score().isfinite().all())
    # the masses themselves are 0 or infinite here
    masses, _ = bank_masses(features / tau, bank, IdMass.of(features / tau @ classes.T).top)
    assert bool(((masses == 0) | masses.isinf()).any())
    ids = features.double() @ classes.double().T / tau
    parts = (features.double() @ bank.features.double().T / tau).split(list(bank.sizes), dim=1)
    odds = ids.logsumexp(1, keepdim=True) - torch.stack([part.logsumexp(1) for part in parts], dim=1)
    exact = torch.nn.functional.logsigmoid(odds).logsumexp(1) - torch.nn.functional.logsigmoid(-odds).logsumexp(1)
    torch.testing.assert_close(votes.lexicon.double(), exact, atol=2e-6 / tau, rtol=1e-5)


def test_one_extreme_picture_does_not_change_the_others() -> None:
    features, classes, bank = unit_rows(6, 0, DIM), unit_rows(3, 1, DIM), cut(40, 4, 2)
    scaled = features / 0.05
    alone = log_masses(scaled, bank, IdMass.of(scaled @ classes.T).top)
    scaled[2] *= 1e4
    beside = log_masses(scaled, bank, IdMass.of(scaled @ classes.T).top)
    assert torch.equal(beside[[0, 1, 3, 4, 5]], alone[[0, 1, 3, 4, 5]])


def test_an_empty_bank_has_no_vote() -> None:
    features, classes, bank = unit_rows(4, 0, DIM), unit_rows(3, 1, DIM), cut(40, 4, 2)
    none = Cut(torch.zeros(0, DIM), ())
    votes = all_votes(features, classes, 0.01, lexicon=none, sentences=bank, look_alikes=none)
    assert list(votes.given()) == ["sentences"]
    assert torch.equal(votes.log_odds(), votes.given()["sentences"])
    with pytest.raises(ValueError, match="all empty"):
        all_votes(features, classes, 0.01).score()
    with pytest.raises(ValueError, match="without texts"):
        grouped_vote(IdMass.of(features @ classes.T), torch.zeros(4, 0))


def test_a_bank_in_groups_votes_as_one_whose_groups_are_as_long_as_the_lexicons() -> None:
    id_mass = IdMass.of(torch.zeros(1, 1))
    logs = torch.tensor([[math.log(2.0), math.log(4.0)]])
    # masses per 100 texts: 20 and 10
    vote = float(bank_vote(id_mass, logs, (10, 40)))
    known, unknown = 1 / 21 + 1 / 11, 20 / 21 + 10 / 11
    assert vote == pytest.approx(math.log(known / unknown), abs=1e-6)
