from dataclasses import replace

import numpy as np
import pytest
import torch

from ants_engine.common.features import check_features
from ants_engine.detector.detector import ActivationRanking
from ants_engine.errors import FeatureError, ImageUnreadableError
from tests.unit.detector.detectors import DIM, small_detector, unit_rows


def mass(features: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, tau: float) -> torch.Tensor:
    both = torch.cat([features @ positives.T, features @ negatives.T], dim=1).double() / tau
    return both.softmax(dim=1)[:, : len(positives)].sum(dim=1)


def test_scores_are_the_papers_formulas() -> None:
    detector = small_detector()
    features = unit_rows(50, 9)
    scores = detector.score(features)
    ens = mass(features, detector.class_features, detector.ens.features, 0.1)
    vsnl = mass(features, detector.class_features, detector.vsnl.features, 0.1)
    groups = [mass(features, detector.class_features, part, 0.1) for part in detector.initial.features.split(3)]
    np.testing.assert_allclose(scores.ens_score, ens, atol=1e-6)
    np.testing.assert_allclose(scores.vsnl_score, vsnl, atol=1e-6)
    np.testing.assert_allclose(scores.neglabel_score, torch.stack(groups).mean(dim=0), atol=1e-6)
    np.testing.assert_allclose(scores.id_score, 0.25 * ens + 0.75 * vsnl, atol=1e-6)
    assert scores.predicted.tolist() == (features @ detector.class_features.T).argmax(dim=1).tolist()


def test_length_of_a_feature_does_not_matter_and_pieces_give_the_same() -> None:
    detector = small_detector()
    features = unit_rows(2500, 5)
    whole = detector.score(features)
    longer = detector.score((features * 7).double().numpy())
    np.testing.assert_allclose(whole.id_score, longer.id_score, atol=1e-6)
    single = np.array([detector.score(features[row : row + 1]).id_score[0] for row in (0, 1023, 1024, 2499)])
    np.testing.assert_allclose(whole.id_score[[0, 1023, 1024, 2499]], single, atol=1e-6)


def test_an_empty_bank_is_stood_in_for_by_the_initial_score() -> None:
    scores = small_detector(ens=0, vsnl=0, weight=0.5).score(unit_rows(8, 3))
    np.testing.assert_array_equal(scores.ens_score, scores.neglabel_score)
    np.testing.assert_array_equal(scores.vsnl_score, scores.neglabel_score)
    np.testing.assert_allclose(scores.id_score, scores.neglabel_score, atol=1e-7)


def test_no_rows_give_no_scores() -> None:
    assert len(small_detector().score(np.zeros((0, DIM), dtype=np.float32))) == 0


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.zeros((2, DIM + 1), np.float32), rf"\(2, {DIM + 1}\); this detector's CLIP gives \(N, {DIM}\)"),
        (np.ones(DIM, np.float32), "one row per picture"),
        (np.ones((2, DIM), np.int64), "int64"),
        (np.array([[1.0] * DIM, [np.nan] * DIM, [0.0] * DIM], np.float32), r"2 rows .* \[1, 2\]"),
        (np.full((1, DIM), np.inf), "infinite"),
    ],
)
def test_wrong_features_are_refused(features: np.ndarray, said: str) -> None:
    with pytest.raises(FeatureError, match=said):
        small_detector().score(features)


def test_failed_rows_keep_their_place() -> None:
    features = unit_rows(3, 1)
    features[1] = torch.nan
    scores = small_detector().score(features, ["a", "b", "c"], {1: ImageUnreadableError("b", "empty")})
    assert np.isnan(scores.id_score).tolist() == [False, True, False]
    assert scores.predicted[1] == -1
    assert scores.verdict[1] == "unreadable"
    assert not scores.is_outlier[1]


def test_features_of_the_caller_are_not_changed() -> None:
    features = unit_rows(3, 1) * 2
    before = features.clone()
    check_features(features, DIM, ignore={0: None})
    assert torch.equal(features, before)


def test_an_explanation_names_the_nearest_texts_and_their_sources() -> None:
    detector = small_detector()
    why = detector.explain(detector.ens.features[2], "x.png", top=2)
    assert why.negatives[0].text == "ens text 2"
    assert why.negatives[0].source == "ens source 2"
    assert why.negatives[0].cosine == pytest.approx(1.0, abs=1e-5)
    assert [near.cosine for near in why.negatives] == sorted((near.cosine for near in why.negatives), reverse=True)
    assert len(why.classes) == 2
    assert "what the MLLM said of ens source 2" in str(why)
    assert why.to_dict()["score"]["name"] == "x.png"


def test_a_second_look_is_the_first_one_without_the_lexicon() -> None:
    detector = small_detector()
    first = detector.look(unit_rows(9, 3))
    again = detector.relook(first.features, first.initial)
    for name in ("features", "id_logits", "predicted", "initial"):
        assert torch.equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("permute", [False, True])
def test_a_long_bank_is_cut_as_the_public_code_cuts_it(permute: bool) -> None:
    detector = replace(small_detector(ens=7, vsnl=3), group_length=3, permute=permute, grouping="reference")
    features = unit_rows(20, 9)
    scores = detector.score(features)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0)) if permute else torch.arange(6)
    parts = [mass(features, detector.class_features, detector.ens.features[rows], 0.1) for rows in order.split(3)]
    np.testing.assert_allclose(scores.ens_score, torch.stack(parts).mean(dim=0), atol=1e-6)
    # three look-alikes are no more than one group
    vsnl = mass(features, detector.class_features, detector.vsnl.features, 0.1)
    np.testing.assert_allclose(scores.vsnl_score, vsnl, atol=1e-6)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0)) if permute else torch.arange(12)
    parts = [mass(features, detector.class_features, detector.initial.features[rows], 0.1) for rows in order.split(3)]
    np.testing.assert_allclose(scores.neglabel_score, torch.stack(parts).mean(dim=0), atol=1e-6)


def test_a_ranking_of_the_sentences_is_used() -> None:
    detector = replace(small_detector(), activation=ActivationRanking(torch.tensor([4, 1, 2]), 2))
    features = unit_rows(20, 9)
    steps = [mass(features, detector.class_features, detector.ens.features[rows], 0.1) for rows in ([4, 1], [4, 1, 2])]
    np.testing.assert_allclose(detector.score(features).ens_score, torch.stack(steps).mean(dim=0), atol=1e-6)
