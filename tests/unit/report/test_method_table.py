import numpy as np
import pytest

from ants_engine.errors import ImageUnreadableError
from ants_engine.evaluation.comparison import compare
from ants_engine.report.truth import ALL_OOD, Truth, compare_methods
from tests.unit.detector.detectors import small_detector, unit_rows

FEATURES = unit_rows(80, 11)
WORDS = [("cat", "near", "far", "dog")[row % 4] for row in range(80)]
SAME = {
    "MCM": "MCM",
    "NegLabel (S_nl)": "NegLabel",
    "NegLabel, one group": "NegLabel, one group",
    "ANTS S_ens": "ANTS S_ens",
    "ANTS S_vsnl": "ANTS S_vsnl",
    "ANTS": "ANTS S_ada",
    "ANTS union": "ANTS S_union",
}


def test_numbers_are_those_of_the_comparison() -> None:
    detector = small_detector(6, 5)
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(WORDS, detector.classes.names)
    found = compare_methods(detector, FEATURES, scores, truth, "openood")
    assert found is not None
    sets = [word if word in ("near", "far") else "id" for word in WORDS]
    labels = [-1 if one is None else one.label for one in truth.labels]
    expected = compare(detector, FEATURES.numpy(), scores, sets, labels)
    by_name = {method.name: method for method in found.methods}
    for shown, name in SAME.items():
        own = {one.ood_set: one for one in by_name[shown].sets}
        assert set(own) == {"near", "far", ALL_OOD}
        for ood_set in ("near", "far"):
            metrics = expected.metrics[name][ood_set]
            assert own[ood_set].auroc == pytest.approx(metrics.auroc, abs=1e-9)
            assert own[ood_set].fpr95_openood == pytest.approx(metrics.fpr95, abs=1e-9)
    assert found.accuracy == pytest.approx(expected.metrics["MCM"]["near"].accuracy)


@pytest.mark.parametrize("convention", ["openood", "id_positive"])
def test_curves_run_from_corner_to_corner_and_bound_their_area(convention: str) -> None:
    detector = small_detector(6, 5)
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(WORDS, detector.classes.names)
    found = compare_methods(detector, FEATURES, scores, truth, convention)  # type: ignore[arg-type]
    assert found is not None
    for method in found.methods:
        x, y = map(np.asarray, zip(*method.roc, strict=True))
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(x) >= 0).all()
        (area,) = (one.auroc for one in method.sets if one.ood_set == ALL_OOD)
        assert np.trapezoid(y, x) == pytest.approx(area, abs=0.02)


def test_unreadable_and_unlabelled_pictures_have_no_part() -> None:
    detector = small_detector(6, 5)
    failures = {0: ImageUnreadableError("a.png", "is none")}
    words: list[str | None] = [*WORDS]
    words[1] = None
    scores = detector.score(FEATURES, failures=failures)
    found = compare_methods(detector, FEATURES, scores, Truth.of_sequence(words, detector.classes.names), "openood")
    kept = FEATURES[2:]
    fewer = compare_methods(
        detector, kept, detector.score(kept), Truth.of_sequence(words[2:], detector.classes.names), "openood"
    )
    assert found == fewer


def test_one_side_alone_cannot_be_measured() -> None:
    detector = small_detector()
    scores = detector.score(FEATURES)
    truth = Truth.of_sequence(["cat"] * 80, detector.classes.names)
    assert compare_methods(detector, FEATURES, scores, truth, "openood") is None
