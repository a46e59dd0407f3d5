import builtins
import math

import numpy as np
import pytest

from ants_engine.errors import MissingDependencyError
from ants_engine.method.metrics import COLUMNS, accuracy, aupr_in, aupr_out, auroc, fpr95, measure


@pytest.fixture(autouse=True)
def sklearn():
    """Needed, and imported by no process of pytest-xdist that runs none of these tests."""
    pytest.importorskip("sklearn")


def test_perfect_and_reversed():
    high, low = [0.8, 0.9, 1.0], [0.1, 0.2]
    assert auroc(high, low) == 1.0
    assert aupr_in(high, low) == aupr_out(high, low) == 1.0
    assert auroc(low, high) == 0.0
    for convention in ("openood", "id_positive"):
        assert fpr95(high, low, convention=convention) == 0.0
        assert fpr95(low, high, convention=convention) == 1.0


def test_the_two_fpr95_differ():
    ids = [0.1, *[0.9] * 9]
    oods = [0.5, *[0.05] * 19]
    # openood: 19 of 20 OOD (95 %) are caught at 0.05, where no ID raises an alarm
    assert fpr95(ids, oods) == 0.0
    # id_positive: 95 % of 10 ID means all, down to 0.1, where the OOD at 0.5 is let through
    assert fpr95(ids, oods, convention="id_positive") == pytest.approx(1 / 20)
    # with 10 OOD, 95 % means all of them: down to 0.5, where the ID at 0.1 raises an alarm
    assert fpr95(ids, oods[:10]) == pytest.approx(1 / 10)


def test_ties_across_the_two_sides():
    ids, oods = [1.0, 0.5], [0.5, 0.0]
    # three and a half of four pairs are in order
    assert auroc(ids, oods) == pytest.approx(3.5 / 4)
    # to catch all OOD, 0.5 must alarm, and one of two ID does with it
    assert fpr95(ids, oods) == 0.5
    assert fpr95(ids, oods, convention="id_positive") == 0.5
    # points (recall, precision): (1/2, 1), (1, 2/3) behind (0, 1)
    assert aupr_in(ids, oods) == pytest.approx(0.5 * 1.0 + 0.5 * (1 + 2 / 3) / 2)
    assert aupr_out(ids, oods) == pytest.approx(0.5 * 1.0 + 0.5 * (1 + 2 / 3) / 2)


def test_all_equal():
    ids, oods = [0.5] * 6, [0.5] * 2
    assert auroc(ids, oods) == 0.5
    assert fpr95(ids, oods) == fpr95(ids, oods, convention="id_positive") == 1.0
    # one point (1, share of the positive) and (0, 1): a trapezoid, where average precision would be the share
    assert aupr_in(ids, oods) == pytest.approx((1 + 6 / 8) / 2)
    assert aupr_out(ids, oods) == pytest.approx((1 + 2 / 8) / 2)


def test_against_counting():
    generator = np.random.default_rng(0)
    ids, oods = generator.normal(1, 1, 200), generator.normal(0, 1, 150)
    pairs = ids[:, None] - oods[None, :]
    assert auroc(ids, oods) == pytest.approx((pairs > 0).mean())
    threshold = np.sort(oods)[math.ceil(0.95 * 150) - 1]
    assert fpr95(ids, oods) == pytest.approx((ids <= threshold).mean())
    threshold = np.sort(ids)[::-1][math.ceil(0.95 * 200) - 1]
    assert fpr95(ids, oods, convention="id_positive") == pytest.approx((oods >= threshold).mean())


def test_scores_that_float32_cannot_tell_apart():
    assert auroc([1.0], [1.0 - 1e-12]) == 1.0


def test_measure_and_its_table():
    metrics = measure([0.9, 0.8], [0.1], id_predicted=[3, 1], id_labels=[3, 2])
    assert metrics.convention == "openood"
    assert metrics.percent() == {"FPR@95": 0.0, "AUROC": 100.0, "AUPR_IN": 100.0, "AUPR_OUT": 100.0, "ACC": 50.0}
    assert tuple(metrics.percent()) == COLUMNS
    without = measure([0.9], [0.1, 0.95, 0.2], convention="id_positive")
    assert without.accuracy is None
    assert without.percent()["FPR@95"] == 33.33


@pytest.mark.parametrize(
    ("ids", "oods", "message"),
    [
        ([], [0.1], "no ID scores"),
        ([0.1], [], "no OOD scores"),
        ([0.1, math.nan], [0.1], "1 ID scores are NaN"),
        ([0.1], [math.inf], "1 OOD scores are NaN or infinite"),
        ([[0.1]], [0.1], "must be a vector"),
    ],
)
def test_never_a_number_from_bad_scores(ids, oods, message):
    for function in (auroc, aupr_in, aupr_out, fpr95, measure):
        with pytest.raises(ValueError, match=message):
            function(ids, oods)


def test_misuse():
    with pytest.raises(ValueError, match="convention"):
        fpr95([1.0], [0.0], convention="best")
    with pytest.raises(ValueError, match="both"):
        measure([1.0], [0.0], id_labels=[1])
    with pytest.raises(ValueError, match="length"):
        measure([1.0, 0.9], [0.0], id_labels=[1], id_predicted=[1])
    for predicted, labels in (([], []), ([1], [1, 2]), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="one length"):
            accuracy(predicted, labels)
    with pytest.raises(ValueError, match="OOD"):
        accuracy([1, 2], [1, -1])


def test_without_scikit_learn(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r'pip install "ants-engine\[eval\]"'):
        auroc([1.0], [0.0])


def test_ties_at_the_threshold_pass_or_fall_together():
    # 20 ID: one at 0.2, four at 0.5, fifteen at 0.9; 20 OOD: sixteen at 0.1, three at 0.5, one at 0.9
    ids = [0.2, *[0.5] * 4, *[0.9] * 15]
    oods = [*[0.1] * 16, *[0.5] * 3, 0.9]
    # 19 of 20 OOD are caught at 0.5 and below, and with them five ID alarm
    assert fpr95(ids, oods) == 5 / 20
    # 19 of 20 ID are kept at 0.5 and above, and with them four OOD pass
    assert fpr95(ids, oods, convention="id_positive") == 4 / 20
    # pairs in order: 0.2 beats 16, each 0.5 beats 16 and ties with 3, each 0.9 beats 19 and ties with 1
    assert auroc(ids, oods) == pytest.approx((16 + 4 * (16 + 1.5) + 15 * (19 + 0.5)) / 400)
    # ID positive, (recall, precision): (15/20, 15/16), (19/20, 19/23), (1, 20/24), then no more recall
    area = 15 / 20 * (1 + 15 / 16) / 2 + 4 / 20 * (15 / 16 + 19 / 23) / 2 + 1 / 20 * (19 / 23 + 20 / 24) / 2
    assert aupr_in(ids, oods) == pytest.approx(area)
    # OOD positive: (16/20, 1), (16/20, 16/17), (19/20, 19/24), (1, 20/40)
    area = 16 / 20 + 3 / 20 * (16 / 17 + 19 / 24) / 2 + 1 / 20 * (19 / 24 + 20 / 40) / 2
    assert aupr_out(ids, oods) == pytest.approx(area)


def test_one_picture_on_each_side():
    for function in (auroc, aupr_in, aupr_out):
        assert function([0.6], [0.4]) == 1.0
    assert fpr95([0.6], [0.4]) == 0.0
    assert fpr95([0.4], [0.6]) == fpr95([0.5], [0.5]) == 1.0


def test_columns_need_not_be_rounded():
    metrics = measure([0.9], [0.1, 0.95, 0.2], convention="id_positive")
    assert metrics.percent(None)["FPR@95"] == pytest.approx(100 / 3)
