import pytest
import torch

from ants_engine.baselines.baseline import TextSpace
from ants_engine.errors import FeatureError
from tests.unit.detector.detectors import DIM, small_detector, unit_rows


def test_it_takes_the_texts_of_a_detector() -> None:
    detector = small_detector()
    space = TextSpace.of(detector, outliers=3 * unit_rows(5, 8))
    assert space.class_names == ("cat", "dog", "owl")
    assert space.class_features is detector.class_features
    assert space.negatives is detector.initial.features
    assert (space.groups, space.temperature) == (detector.initial_groups(), 0.1)
    torch.testing.assert_close(space.outlier_features, unit_rows(5, 8))
    assert TextSpace.of(detector).outlier_features is None
    assert len(TextSpace.of(detector, outliers=torch.zeros(0, DIM)).outlier_features) == 0


def test_outliers_of_another_clip_are_refused() -> None:
    with pytest.raises(FeatureError, match=rf"\(N, {DIM}\)"):
        TextSpace.of(small_detector(), outliers=unit_rows(5, 8, dim=DIM + 1))
