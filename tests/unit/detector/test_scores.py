import json
import math

import numpy as np
import pytest

from ants_engine.detector.scores import Scores
from ants_engine.errors import ImageUnreadableError


@pytest.fixture
def scores() -> Scores:
    return Scores(
        id_score=np.array([0.9, 0.2, np.nan, 0.5], dtype=np.float32),
        predicted=np.array([0, 1, -1, 1]),
        ens_score=np.array([0.8, 0.1, np.nan, 0.5], dtype=np.float32),
        vsnl_score=np.array([1.0, 0.3, np.nan, 0.5], dtype=np.float32),
        neglabel_score=np.array([0.7, 0.4, np.nan, 0.5], dtype=np.float32),
        weight=0.5,
        threshold=0.5,
        class_names=("cat", "dog"),
        names=["a.png", "b.png", "c.png", "d.png"],
        failures={2: ImageUnreadableError("c.png", "truncated")},
    )


def test_columns_follow_from_each_other(scores: Scores) -> None:
    np.testing.assert_array_equal(scores.outlier_score, np.float32(1) - scores.id_score)
    assert scores.is_outlier.tolist() == [False, True, False, False]
    assert scores.predicted_class == ["cat", "dog", None, "dog"]


def test_an_unreadable_picture_is_neither_known_nor_unknown(scores: Scores) -> None:
    assert scores.is_outlier.sum() == 1, "counts the unknown ones"
    assert scores.is_unreadable.tolist() == [False, False, True, False]
    assert scores.verdict == ["known", "unknown", "unreadable", "known"] == [one.verdict for one in scores]
    assert [one.is_outlier for one in scores] == [False, True, None, False]
    # at the threshold it is known
    assert scores[3].id_score == scores.threshold
    assert f"{scores[1].verdict} {scores[2].verdict:>12}" == "unknown   unreadable"


def test_rows_slices_and_masks(scores: Scores) -> None:
    assert len(scores) == 4
    assert scores[-1].name == "d.png"
    assert [one.name for one in scores] == ["a.png", "b.png", "c.png", "d.png"]
    assert scores[0].predicted_class == "cat"
    assert scores[2].is_outlier is None
    assert math.isnan(scores[2].id_score)
    part = scores[1:3]
    assert part.names == ["b.png", "c.png"]
    assert list(part.failures) == [1]
    assert scores[scores.is_outlier].names == ["b.png"]
    assert scores[scores.is_unreadable].names == ["c.png"]
    assert scores[[3, 0]].names == ["d.png", "a.png"]
    with pytest.raises(IndexError):
        scores[4]


def test_plain_values_are_json(scores: Scores) -> None:
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["id_score"][2] is None
    assert plain["is_outlier"] == [False, True, None, False]
    assert plain["verdict"] == ["known", "unknown", "unreadable", "known"]
    assert plain["error"][2] == "c.png: truncated"
    assert plain["weight"] == plain["threshold"] == 0.5


def test_pandas(scores: Scores) -> None:
    pytest.importorskip("pandas")
    frame = scores.to_pandas()
    assert list(frame["predicted_class"][:2]) == ["cat", "dog"]
    assert frame["id_score"].isna().tolist() == [False, False, True, False]
    assert frame.attrs == {"weight": 0.5, "threshold": 0.5}
