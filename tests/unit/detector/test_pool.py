"""The pool in frozen scoring: votes of every bank, the same bits in any batch, attribution."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.method.verified import VerifiedPictures
from tests.unit.detector.detectors import DIM, bank, small_detector, unit_rows


def pooled(ens: int = 5, vsnl: int = 4, **changed: object) -> Detector:
    return replace(small_detector(ens, vsnl), fusion="pool", **changed)  # type: ignore[arg-type]


def verified(purity: float = 0.5) -> dict[str, object]:
    yes = torch.tensor([True, False] * 6)
    return {"verified": VerifiedPictures.of(unit_rows(12, 9), yes), "purity": purity}


def reference(detector: Detector, features: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the votes by the formulas of the method, in float64 and with every logit at hand."""
    x, tau = features.double(), detector.temperature
    id_mass = torch.logsumexp(x @ detector.class_features.double().T / tau, dim=1)
    votes: dict[str, torch.Tensor] = {}
    words = (x @ detector.initial.features.double().T / tau).split(list(detector.initial_groups().sizes), dim=1)
    shares = torch.stack([torch.sigmoid(id_mass - torch.logsumexp(group, dim=1)) for group in words])
    votes["neglabel"] = shares.sum(dim=0).log() - (1 - shares).sum(dim=0).log()
    for texts in (detector.ens, detector.vsnl):
        if len(texts):
            logits = x @ texts.features.double().T / tau
            votes[texts.kind] = id_mass - torch.logsumexp(logits, dim=1) - math.log(100 / len(texts))
    return votes


@pytest.mark.parametrize("sizes", [(5, 4), (0, 4), (5, 0), (0, 0)])
def test_id_score_is_the_sigmoid_of_the_mean_vote(sizes: tuple[int, int]) -> None:
    detector, features = pooled(*sizes), unit_rows(70, 7)
    scores = detector.score(features)
    wanted = reference(detector, features)
    assert set(scores.votes) == set(wanted)
    for name, vote in wanted.items():
        np.testing.assert_allclose(scores.votes[name], vote.numpy(), rtol=2e-5, atol=2e-5)
    mean = torch.stack(list(wanted.values())).mean(dim=0)
    np.testing.assert_allclose(scores.id_score, torch.sigmoid(mean).numpy(), rtol=2e-5, atol=2e-6)


def test_with_no_bank_beside_the_lexicon_it_is_the_initial_score() -> None:
    scores = pooled(0, 0).score(unit_rows(30, 7))
    np.testing.assert_allclose(scores.id_score, scores.neglabel_score, rtol=1e-6)


def test_the_stage_scores_are_those_without_a_pool() -> None:
    features = unit_rows(40, 7)
    plain, pool = small_detector().score(features), pooled().score(features)
    for name in ("neglabel_score", "ens_score", "vsnl_score", "predicted"):
        assert np.array_equal(getattr(plain, name), getattr(pool, name))
    assert not plain.votes


def test_verified_pictures_are_added_to_the_log_odds() -> None:
    features = unit_rows(20, 7)
    with_them, without = pooled(**verified()).score(features), pooled().score(features)
    odds = np.log(with_them.id_score) - np.log1p(-with_them.id_score)
    before = np.log(without.id_score) - np.log1p(-without.id_score)
    np.testing.assert_allclose(odds - before, with_them.votes["pictures"], rtol=1e-4, atol=1e-4)
    assert "pictures" not in without.votes
    assert "pictures" not in pooled(**verified(purity=0.0)).score(features).votes


def test_a_picture_has_the_same_bits_alone_and_in_any_batch() -> None:
    detector, features = pooled(**verified()), unit_rows(150, 7)
    whole = detector.score(features)
    for rows in ([3], list(range(40)), list(range(149, -1, -1))):
        part = detector.score(features[rows])
        assert np.array_equal(part.id_score, whole.id_score[rows])
        for name, vote in part.votes.items():
            assert np.array_equal(vote, whole.votes[name][rows])


def test_an_unreadable_picture_has_no_vote() -> None:
    from ants_engine.errors import ImageError

    features = torch.cat([unit_rows(2, 7), torch.zeros(1, DIM)])
    scores = pooled().score(features, ["a", "b", "c"], {2: ImageError("c", "broken")})
    assert all(np.isnan(vote[2]) and not np.isnan(vote[:2]).any() for vote in scores.votes.values())
    assert scores.columns()["ens_vote"][2] is None


def test_a_selection_and_a_row_keep_their_votes() -> None:
    scores = pooled().score(unit_rows(5, 7))
    assert scores[[4, 1]].votes["ens"].tolist() == scores.votes["ens"][[4, 1]].tolist()
    assert scores[3].votes["vsnl"] == scores.votes["vsnl"][3]
    json.dumps(scores.to_dict())


def test_an_explanation_says_how_each_witness_votes() -> None:
    why = pooled(**verified()).explain(unit_rows(1, 7)[0], "new.jpg", 2)
    said = str(why).splitlines()[1]
    for name in ("lexicon", "sentences", "look-alikes", "verified pictures"):
        assert name in said
    assert set(why.to_dict()["score"]["votes"]) == {"neglabel", "ens", "vsnl", "pictures"}


def test_saturated_logits_give_finite_votes() -> None:
    """A cosine of 1 at tau = 0.001 is a logit of 1,000: no exponential of it fits into float32."""
    detector = replace(pooled(), temperature=1e-3, ens=bank("ens", 4, 8))
    both = torch.cat([detector.class_features, detector.ens.features])
    scores = detector.score(both)
    assert all(np.isfinite(vote).all() for vote in scores.votes.values())
    assert (scores.votes["ens"][:3] > 100).all()
    assert (scores.votes["ens"][3:] < -100).all()


def test_groups_are_pooled_too() -> None:
    texts = bank("ens", 40, 8)
    grouped = replace(pooled(), ens=texts, group_length=10, permute=False)
    x, tau = unit_rows(9, 7), grouped.temperature
    id_mass = torch.logsumexp(x @ grouped.class_features.T / tau, dim=1)
    shares = torch.stack(
        [
            torch.sigmoid(id_mass - torch.logsumexp(x @ part.T / tau, dim=1) - math.log(100 / 10))
            for part in texts.features.split(10)
        ]
    )
    wanted = shares.sum(dim=0).log() - (1 - shares).sum(dim=0).log()
    np.testing.assert_allclose(grouped.score(x).votes["ens"], wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_an_empty_lexicon_has_no_vote() -> None:
    empty = NegativeBank.empty("neglabel", DIM)
    scores = replace(pooled(), initial=empty).score(unit_rows(4, 7))
    assert set(scores.votes) == {"ens", "vsnl"}
