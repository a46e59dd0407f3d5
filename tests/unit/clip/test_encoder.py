"""Features: their shape, length, order, and that padding does not matter."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.towers import CausalTextTower, ClassTokenTower
from ants_engine.settings.config import ClipSettings
from tests.support.features import image_features
from tests.unit.clip.tiny_clip import MODEL_CFG, WORDS, write_model

TEXTS = [" ".join(WORDS[i : i + 1 + i % 11]) for i in range(20)]
WORLD = Path(__file__).parents[3] / "examples" / "emoji_world" / "clip"


def load(folder: Path, **more: Any) -> ClipEncoder:
    return ClipEncoder.load(ClipSettings(model=str(folder), pretrained=None, device="cpu", **more))


def pictures() -> list[Image.Image]:
    gradient = Image.radial_gradient("L").convert("RGB")
    return [gradient.resize((20 + 7 * i, 50 - 3 * i)).rotate(20 * i) for i in range(9)]


def whole(encoder: ClipEncoder, texts: list[str]) -> torch.Tensor:
    """The model's own way, with all the padding."""
    with torch.inference_mode():
        features = encoder._model.encode_text(encoder._tokens(texts)).float()
    return torch.nn.functional.normalize(features, dim=-1)


def whole_pictures(encoder: ClipEncoder) -> torch.Tensor:
    """The model's own way, with all of its last block."""
    with torch.inference_mode():
        features = encoder._model.encode_image(torch.stack([encoder.preprocess(image) for image in pictures()]))
    return torch.nn.functional.normalize(features, dim=-1)


def vision(**changes: Any) -> dict[str, Any]:
    return {"vision_cfg": MODEL_CFG["vision_cfg"] | changes}


def test_shapes_lengths_and_order(encoder: ClipEncoder) -> None:
    images, texts = image_features(encoder, pictures()), encoder.encode_texts(TEXTS)
    assert images.shape == (9, 24)
    assert texts.shape == (20, 24)
    assert encoder.dim == 24
    for features in (images, texts):
        assert features.dtype == torch.float32
        assert features.device.type == "cpu"
        assert not features.requires_grad
        assert torch.allclose(features.norm(dim=1), torch.ones(len(features)), atol=1e-6)
    for row, image in enumerate(pictures()):
        assert torch.allclose(image_features(encoder, [image])[0], images[row], atol=1e-6)
    for row, text in enumerate(TEXTS):
        assert torch.allclose(encoder.encode_texts([text])[0], texts[row], atol=1e-6)
    assert torch.cdist(images, images).max() > 0.05


def test_nothing_in_nothing_out(encoder: ClipEncoder) -> None:
    assert image_features(encoder, []).shape == (0, 24)
    assert encoder.encode_texts([]).shape == (0, 24)


def test_twice_the_same_bits(encoder: ClipEncoder, settings: ClipSettings) -> None:
    again = ClipEncoder.load(settings)
    assert torch.equal(image_features(again, pictures()), image_features(encoder, pictures()))
    assert torch.equal(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    assert again.identity == encoder.identity


def test_equal_texts_are_encoded_once(encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = encoder._encode_tokens

    def watched(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(tokens))
        return real(tokens)

    monkeypatch.setattr(encoder, "_encode_tokens", watched)
    features = encoder.encode_texts(["a dog", "a cat", "a dog", "a dog"])
    assert seen == [2]
    assert torch.equal(features[0], features[2])
    assert torch.equal(features[0], features[3])


def test_progress(encoder: ClipEncoder) -> None:
    done: list[int] = []
    encoder.encode_texts(TEXTS[:7], done.append)
    assert done == [3, 6, 7]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"custom_text": True},
        {"quick_gelu": True},
        {"text_cfg": {"pool_type": "eos", "eos_id": 39}},
        {"text_cfg": {"proj_bias": True}, "custom_text": True},
        {"text_cfg": {"pool_type": "eos", "eos_id": 39, "pad_id": 5}, "custom_text": True},
    ],
)
def test_cut_padding_changes_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", **changes))
    assert encoder._short_tower is not None
    assert torch.allclose(encoder.encode_texts(TEXTS), whole(encoder, TEXTS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("custom", [False, True])
def test_a_last_block_of_another_kind_is_computed_whole(custom: bool, tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", text_cfg={"block_type": "custom" if custom else "default"}))
    assert encoder._short_tower is not None
    assert encoder._short_tower.last_block_at_the_end is not custom
    torch.testing.assert_close(encoder.encode_texts(TEXTS), whole(encoder, TEXTS), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"text_cfg": {"no_causal_mask": True}, "custom_text": True},
        {"text_cfg": {"pool_type": "last"}, "custom_text": True},
        {"text_cfg": {"pool_type": "first"}, "custom_text": True},
        {"text_cfg": {"embed_cls": True}, "custom_text": True},
    ],
)
def test_padding_stays_where_it_matters(changes: dict[str, Any], tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", **changes))
    assert encoder._short_tower is None
    assert torch.allclose(encoder.encode_texts(TEXTS), whole(encoder, TEXTS), atol=1e-6, rtol=0)


def test_a_short_way_that_went_wrong_is_not_taken(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CausalTextTower, "positions", lambda self, tokens: torch.zeros(len(tokens), dtype=torch.int64))
    assert load(model_folder)._short_tower is None


@pytest.mark.parametrize(
    "changes",
    [{}, {"custom_text": True}, {"quick_gelu": True}, vision(ls_init_value=0.1), vision(final_ln_after_pool=True),
     vision(no_ln_pre=True), vision(layers=1)],
)  # fmt: skip
def test_a_last_block_at_the_class_token_alone_changes_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", **changes))
    assert encoder._class_token_tower is not None
    before = encoder._model.state_dict().keys()
    features = image_features(encoder, pictures())
    torch.testing.assert_close(features, whole_pictures(encoder), atol=1e-6, rtol=0)
    assert encoder._model.state_dict().keys() == before, "the model itself stays as it is"


@pytest.mark.parametrize(
    "changes",
    [vision(pool_type="avg"), vision(attentional_pool=True), vision(block_type="custom"), vision(layers=[1, 1, 1, 1])],
)
def test_other_vision_towers_are_run_whole(changes: dict[str, Any], tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", **changes))
    assert encoder._class_token_tower is None
    torch.testing.assert_close(image_features(encoder, pictures()), whole_pictures(encoder), atol=1e-6, rtol=0)


def test_a_short_vision_tower_that_went_wrong_is_not_taken(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ClassTokenTower.__call__
    monkeypatch.setattr(ClassTokenTower, "__call__", lambda self, images: real(self, images).roll(1, dims=-1))
    assert load(model_folder)._class_token_tower is None


def test_what_fits_the_context(encoder: ClipEncoder) -> None:
    assert encoder.context_length == 12
    assert encoder.token_count("a dog") == 4
    assert encoder.fits("a " * 10)
    assert not encoder.fits("a " * 11)
    assert not encoder.fits("a " * 5000)
    assert encoder.fits("")
    # the tokenizer's state is as before
    assert encoder._tokens(["a dog"]).shape == (1, 12)


def test_what_fits_the_context_of_openais_tokenizer(encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=77)
    monkeypatch.setattr(encoder, "_tokenizer", tokenizer)
    monkeypatch.setattr(encoder, "context_length", 77)
    for words in (1, 74, 75, 76, 200):
        text = "dog " * words
        assert encoder.token_count(text) == words + 2
        assert encoder.fits(text) == (words <= 75) == bool((tokenizer([text])[0][:-1] == 49407).any() or words == 75)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision(precision: str, model_folder: Path, encoder: ClipEncoder) -> None:
    other = load(model_folder, precision=precision)
    assert other.identity["precision"] == precision
    assert other.identity_sha256 != encoder.identity_sha256
    for low, high in (
        (image_features(other, pictures()), image_features(encoder, pictures())),
        (other.encode_texts(TEXTS), encoder.encode_texts(TEXTS)),
    ):
        assert low.dtype == torch.float32
        assert torch.allclose(low, high, atol=0.05)
        assert not torch.equal(low, high)
    assert other.logit_scale == pytest.approx(encoder.logit_scale, rel=1e-2)


def test_auto_precision_on_the_cpu(encoder: ClipEncoder) -> None:
    assert encoder.identity["precision"] == "fp32"
    assert encoder.identity["device"] == "cpu"


def test_the_identity_is_json_and_says_what_matters(encoder: ClipEncoder, model_folder: Path, tmp_path: Path) -> None:
    assert json.loads(json.dumps(encoder.identity)) == encoder.identity
    assert str(model_folder) not in json.dumps(encoder.identity)
    assert encoder.identity["sha256"] == encoder.identity_sha256
    assert len(encoder.identity_sha256) == 64
    same = write_model(tmp_path / "elsewhere")
    assert load(same).identity == encoder.identity
    assert load(write_model(tmp_path / "seed", seed=1)).identity_sha256 != encoder.identity_sha256
    assert load(write_model(tmp_path / "gelu", quick_gelu=True)).identity_sha256 != encoder.identity_sha256


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (1, 1), (3, 900)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_extreme_shapes_stay_small(size: tuple[int, int], mode: str, tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path / "m", preprocess={"resize_mode": mode}))
    assert image_features(encoder, [Image.new("RGB", size, (9, 99, 199))]).shape == (1, 24)


def test_no_parameter_learns(encoder: ClipEncoder) -> None:
    model: Any = encoder._model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_embedded_worlds_model() -> None:
    if not (WORLD / "open_clip_config.json").is_file():
        pytest.skip("the embedded world's CLIP is not here")
    encoder = load(WORLD)
    assert image_features(encoder, pictures()[:2]).shape == (2, encoder.dim)
    texts = ["a cat", "a red apple", "a"]
    assert encoder._short_tower is not None
    assert torch.allclose(encoder.encode_texts(texts), whole(encoder, texts), atol=1e-6, rtol=0)


def test_a_compiled_tower_gives_the_same_features_and_says_so(
    encoder: ClipEncoder, settings: ClipSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # traced and run as a graph, without the minute that making kernels of it takes
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compiled = ClipEncoder.load(settings.model_copy(update={"compile": True}))
    for count in (9, 5, 1):
        found = image_features(compiled, pictures()[:count])
        torch.testing.assert_close(found, image_features(encoder, pictures()[:count]), atol=1e-6, rtol=0)
    # another kernel may give other last bits, so that features are not taken for those of the other
    assert (encoder.identity["compiled"], compiled.identity["compiled"]) == (False, True)
    assert compiled.identity_sha256 == encoder.identity_sha256
