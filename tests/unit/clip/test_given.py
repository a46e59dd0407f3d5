import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.clip.encoding import GivenEncoder
from ants_engine.errors import FeatureError, UsageError
from tests.support.features import image_features


def test_a_table_and_a_function_give_normalised_rows_in_order() -> None:
    table = {"a": [3.0, 4.0], "b": np.array([0.0, 2.0], np.float64), "c": torch.tensor([1.0, 0.0])}
    by_table = GivenEncoder(table, 2)
    assert by_table.encode_texts(["b", "a", "b", "c"]).tolist() == [[0, 1], pytest.approx([0.6, 0.8]), [0, 1], [1, 0]]
    seen: list[int] = []
    by_function = GivenEncoder(lambda texts: np.array([[len(text), 0.0] for text in texts]), 2)
    assert by_function.encode_texts(["x", "yy"], seen.append).tolist() == [[1, 0], [1, 0]]
    assert seen == [2]
    assert by_function.encode_texts([]).shape == (0, 2)
    assert by_function.fits("a text of any length")


def test_what_is_missing_or_does_not_fit_is_named() -> None:
    with pytest.raises(FeatureError, match="2 texts are not in the table of text features, first: 'x', 'y'"):
        GivenEncoder({"a": [1.0]}, 1).encode_texts(["x", "a", "y"])
    with pytest.raises(FeatureError, match=r"\(N, 2\)"):
        GivenEncoder({"a": [1.0]}, 2).encode_texts(["a"])
    with pytest.raises(FeatureError, match="gave 1 features for 2 texts"):
        GivenEncoder(lambda texts: np.ones((1, 2)), 2).encode_texts(["a", "b"])


def test_it_knows_no_pictures() -> None:
    encoder = GivenEncoder({}, 2)
    picture = Image.new("RGB", (2, 2))
    for call in (lambda: encoder.preprocess(picture), lambda: image_features(encoder, [picture])):
        with pytest.raises(UsageError, match="no CLIP model"):
            call()
    assert encoder.encode_inputs([]).shape == (0, 2)


def test_its_identity_is_what_is_known_of_it() -> None:
    one, same = GivenEncoder({}, 2), GivenEncoder({"a": [1.0, 0.0]}, 2)
    assert one.identity_sha256 == same.identity_sha256 == one.identity["sha256"]
    others = (GivenEncoder({}, 3), GivenEncoder({}, 2, logit_scale=50.0), GivenEncoder({}, 2, identity={"name": "x"}))
    assert len({one.identity_sha256, *(other.identity_sha256 for other in others)}) == 4
    assert one.text_batches_sha256 == "", "another table may say something else of the same text"
