"""Calibration with pictures known to be ID: the threshold, p-values, the false discovery rate, on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ants_engine.errors import DetectorFolderError, ImageError, UsageError
from ants_engine.learning.detector_folder import load_detector, save_detector
from tests.unit.detector.detectors import DIM, bank, saved_detector, small_detector, unit_rows


def test_the_threshold_is_the_conformal_one() -> None:
    detector, known = small_detector().calibrated(unit_rows(59, 11), 0.05), unit_rows(59, 11)
    ordered = np.sort(small_detector().score(known).id_score)
    assert np.float32(detector.threshold) == ordered[2]
    assert int(detector.score(known).is_outlier.sum()) == 2


@pytest.mark.parametrize(("count", "rate", "needed"), [(18, 0.05, 19), (3, 0.2, 4), (0, 0.5, 1)])
def test_too_few_pictures_are_refused_with_the_number_that_is_needed(count: int, rate: float, needed: int) -> None:
    with pytest.raises(ValueError, match=str(needed) if count else "at least one"):
        small_detector().calibrated(unit_rows(count, 11), rate)


def test_p_values_agree_with_the_threshold() -> None:
    for rate in (0.05, 0.1, 0.3):
        scores = small_detector().calibrated(unit_rows(40, 11), rate).score(unit_rows(300, 12))
        assert np.array_equal(scores.p_value <= rate, scores.is_outlier)


def test_p_values_are_nan_without_a_calibration_and_without_a_score() -> None:
    assert np.isnan(small_detector().score(unit_rows(3, 12)).p_value).all()
    assert "p_value" not in small_detector().score(unit_rows(3, 12)).columns()
    features = torch.cat([unit_rows(1, 12), torch.zeros(1, DIM)])
    calibrated = small_detector().calibrated(unit_rows(40, 11), 0.1)
    scores = calibrated.score(features, ["a", "b"], {1: ImageError("b", "broken")})
    assert np.isnan(scores.p_value).tolist() == [False, True]
    assert scores.columns()["p_value"][1] is None
    assert not scores.unknown(fdr=0.5)[1]


def test_the_false_discovery_rate_needs_a_calibration() -> None:
    with pytest.raises(UsageError, match="calibrate the detector first"):
        small_detector().score(unit_rows(3, 12)).unknown(fdr=0.1)
    with pytest.raises(UsageError, match="fdr must be in"):
        small_detector().calibrated(unit_rows(40, 11), 0.1).score(unit_rows(3, 12)).unknown(fdr=0.0)


def test_what_is_clearly_unknown_is_found_under_a_false_discovery_rate() -> None:
    detector = small_detector()
    # nearer to the negatives than any known picture is
    strangers, known = detector.ens.features, torch.cat([detector.class_features] * 30)
    known = torch.nn.functional.normalize(known + 0.02 * unit_rows(90, 13), dim=1)
    scores = detector.calibrated(known[:60], 0.05).score(torch.cat([known[60:], strangers]))
    assert scores.unknown(fdr=0.2)[-len(strangers) :].all()
    assert scores.unknown(fdr=0.2)[: -len(strangers)].sum() <= 2


def test_a_calibration_follows_the_banks() -> None:
    known = unit_rows(40, 11)
    first = small_detector().calibrated(known, 0.1)
    changed = replace(first, ens=bank("ens", 30, 21))
    again = changed.recalibrated()
    assert again.threshold == replace(small_detector(), ens=bank("ens", 30, 21)).calibrated(known, 0.1).threshold
    assert again.threshold != first.threshold
    assert small_detector().recalibrated().threshold == small_detector().threshold


def test_a_calibration_is_kept_on_disk_to_the_bit(tmp_path: Path) -> None:
    detector = small_detector().calibrated(unit_rows(40, 11), 0.1)
    save_detector(tmp_path, saved_detector(detector))
    found = load_detector(tmp_path).state.detector
    features = unit_rows(9, 12)
    assert found.score(features).p_value.tobytes() == detector.score(features).p_value.tobytes()
    assert found.calibration is not None
    assert found.calibration.false_alarms == 0.1
    assert found.recalibrated().threshold == detector.threshold


def test_a_doctored_calibration_is_refused(tmp_path: Path) -> None:
    detector = small_detector().calibrated(unit_rows(40, 11), 0.1)
    assert detector.calibration is not None
    for wrong in (torch.zeros(3), torch.full((40,), torch.nan), torch.zeros(40, dtype=torch.float64)):
        doctored = replace(detector, calibration=replace(detector.calibration, scores=wrong))
        with pytest.raises(DetectorFolderError, match="calibration_scores"):
            save_detector(tmp_path, saved_detector(doctored))
