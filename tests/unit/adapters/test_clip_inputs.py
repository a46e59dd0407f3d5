from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.adapters.clip_inputs import InputEncoder, check_inputs, loader_pictures, pictures_of
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.errors import FeatureError, UsageError
from ants_engine.settings.config import ClipSettings
from tests.support.features import image_features
from tests.unit.clip.tiny_clip import write_model


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    folder = write_model(tmp_path_factory.mktemp("clip") / "model")
    return ClipEncoder.load(ClipSettings(model=str(folder), batch_size=4))


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    sizes = [(32, 32), (50, 32), (32, 71), (64, 40), (200, 90), (33, 32)]
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


@pytest.fixture(scope="module")
def inputs(encoder: ClipEncoder, images: list[Image.Image]) -> torch.Tensor:
    return torch.stack([encoder.preprocess(image) for image in images])


def test_features_are_those_of_the_pictures(
    encoder: ClipEncoder, images: list[Image.Image], inputs: torch.Tensor
) -> None:
    features = InputEncoder(encoder)(inputs)
    assert torch.equal(features, image_features(encoder, images))
    assert InputEncoder(encoder)(inputs[:0]).shape == (0, encoder.dim)
    halved = InputEncoder(encoder)(inputs.double().requires_grad_())
    assert halved.dtype == torch.float32
    assert not halved.requires_grad


def test_pictures_come_back_to_the_sample_and_preprocess_to_the_same_bits(
    encoder: ClipEncoder, images: list[Image.Image], inputs: torch.Tensor
) -> None:
    back = list(pictures_of(check_inputs(inputs, encoder), encoder))
    assert [(picture.shape, picture.dtype) for picture in back] == [((32, 32, 3), np.dtype(np.uint8))] * len(images)
    np.testing.assert_array_equal(back[0], np.asarray(images[0]))
    again = torch.stack([encoder.preprocess(Image.fromarray(picture)) for picture in back])
    assert torch.equal(again, inputs)


def test_half_precision_is_good_enough_for_a_picture(encoder: ClipEncoder, inputs: torch.Tensor) -> None:
    exact = np.stack(list(pictures_of(inputs, encoder)))
    rough = np.stack(list(pictures_of(check_inputs(inputs.half(), encoder), encoder)))
    assert np.abs(exact.astype(int) - rough).max() <= 1


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 3, 40, 32), r"\(2, 3, 40, 32\); this CLIP takes \(B, 3, 32, 32\).*preprocess"),
        (torch.zeros(3, 32, 32), "this CLIP takes"),
        (torch.zeros(1, 1, 32, 32), "this CLIP takes"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "torch.uint8"),
        (np.zeros((2, 3, 32, 32), np.float32), "ndarray"),
    ],
)
def test_what_is_no_batch_of_inputs_is_refused(encoder: ClipEncoder, x: Any, said: str) -> None:
    with pytest.raises(FeatureError, match=said):
        InputEncoder(encoder)(x)


def test_inputs_of_another_normalisation_are_no_pictures(encoder: ClipEncoder, inputs: torch.Tensor) -> None:
    with pytest.raises(FeatureError, match=r"mean \[0.5, 0.4, 0.3\]"):
        pictures_of(inputs * 3, encoder)
    # interpolation may overshoot a little
    assert next(pictures_of(torch.full((1, 3, 32, 32), 2.2), encoder)).max() == 255


def test_features_from_elsewhere_have_no_pictures() -> None:
    given = GivenEncoder({}, 8)
    with pytest.raises(UsageError, match="no CLIP model"):
        InputEncoder(given)(torch.zeros(2, 3, 32, 32))
    with pytest.raises(FeatureError, match="does not say how it normalises"):
        pictures_of(torch.zeros(2, 3, 32, 32), given)


def test_a_loader_may_give_any_kind_of_batch(encoder: ClipEncoder, inputs: torch.Tensor) -> None:
    label = torch.tensor([-1, 0])
    batches: list[Any] = [inputs[:2], (inputs[2:4], label), {"data": inputs[4:], "label": label, "path": ["a", "b"]}]
    found = list(loader_pictures(iter(batches), encoder))
    np.testing.assert_array_equal(found, list(pictures_of(inputs, encoder)))
