"""The first real models of people: open_clip's architectures at their real size, random weights from local files."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.model import CONFIG_NAME, ClipModel, quiet_logging
from ants_engine.errors import ModelNotFoundError, SettingError
from ants_engine.settings.config import ClipSettings
from tests.support.features import image_features

TEXTS = [
    "a photo of a dog",
    "The nice grey wolf.",
    "a red box on a table, and behind it the sea in the evening",
    "moon",
]
OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]


@dataclass
class Real:
    """One architecture with its weights in a file of its own, and open_clip's model of them."""

    name: str
    root: Path
    model: Any
    config: dict[str, Any]

    @property
    def weights(self) -> Path:
        return self.root / "weights.safetensors"

    @cached_property
    def encoder(self) -> ClipEncoder:
        """Ours of the weights file, by the architecture's name."""
        return load(self.name, self.weights)

    @cached_property
    def features(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What it makes of the pictures and of the texts."""
        return features(self.encoder)

    @property
    def pickle(self) -> Path:
        """The same weights as ``torch.save`` writes them; made when first asked for."""
        path = self.root / "weights.pt"
        if not path.exists():
            torch.save(self.model.state_dict(), path)
        return path

    def folder(self, preprocess: dict[str, Any] | None = None) -> Path:
        """The same weights in local-dir form."""
        folder = self.root / "folder"
        folder.mkdir(exist_ok=True)
        if not (folder / "open_clip_model.safetensors").exists():
            os.link(self.weights, folder / "open_clip_model.safetensors")
        whole = {"model_cfg": self.config, "preprocess_cfg": preprocess or {}}
        (folder / CONFIG_NAME).write_text(json.dumps(whole))
        return folder


@pytest.fixture(scope="module")
def real(request, tmp_path_factory):
    """Make an architecture once; half a gigabyte of weights is not left behind."""
    root = tmp_path_factory.mktemp("real")
    with torch.random.fork_rng(devices=[]), quiet_logging():
        torch.manual_seed(0)
        model = open_clip.create_model(request.param, pretrained_image=False).eval().requires_grad_(False)
        # as drawn, features hardly react to the input
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ("embedding" in name or "pos_embed" in name):
                parameter.data.normal_(0.0, 0.5)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, root / "weights.safetensors")
    yield Real(request.param, root, model, open_clip.get_model_config(request.param))
    for path in root.rglob("*"):
        if path.is_file():
            path.unlink()


def architectures(*names):
    return pytest.mark.parametrize("real", names, indirect=True, scope="module")


def load(model, pretrained=None):
    given = None if pretrained is None else str(pretrained)
    return ClipEncoder.load(ClipSettings(model=str(model), pretrained=given, device="cpu", batch_size=3))


def pictures():
    gradient = Image.radial_gradient("L")
    coloured = Image.merge("RGB", (gradient, gradient.rotate(90).resize((256, 256)), gradient.transpose(1)))
    return [coloured, coloured.resize((300, 100)), coloured.resize((100, 500)), Image.new("RGB", (1, 1), (9, 99, 200))]


def features(encoder):
    return image_features(encoder, pictures()), encoder.encode_texts(TEXTS)


def same_as_open_clip(encoder, found, real, preprocess, tokenizer):
    """Features equal open_clip's own, and each is one: they differ, and have length 1."""
    with torch.inference_mode():
        shown = real.model.encode_image(torch.stack([preprocess(image) for image in pictures()]), normalize=True)
        said = real.model.encode_text(tokenizer(TEXTS), normalize=True)
    for ours, theirs in zip(found, (shown, said), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5, rtol=0)
        assert torch.allclose(ours.norm(dim=1), torch.ones(len(ours)), atol=1e-5)
        assert torch.pdist(ours).min() > 1e-3
    assert encoder.logit_scale == pytest.approx(float(real.model.logit_scale.exp()))


def open_clips_way(real):
    """What open_clip itself prepares pictures and texts with, for weights of this name."""
    preprocess = image_transform_v2(PreprocessCfg(size=real.model.visual.image_size), is_train=False)
    return preprocess, open_clip.get_tokenizer(real.name)


@architectures("ViT-B-16-quickgelu", "ViT-B-32", "convnext_tiny")
def test_a_weights_file_by_name(real):
    encoder = real.encoder
    same_as_open_clip(encoder, real.features, real, *open_clips_way(real))
    assert encoder.identity["architecture"] == real.name
    assert encoder.identity["quick_gelu"] == ("quickgelu" in real.name)
    kept = encoder.identity["preprocess"]
    assert (kept["mean"], kept["interpolation"], kept["size"]) == (OPENAI_MEAN, "bicubic", [224, 224])
    assert str(real.root) not in json.dumps(encoder.identity)
    assert not encoder.fits("dog " * 76)


@architectures("ViT-B-16-quickgelu")
def test_openais_weights_are_known_by_what_is_in_them(real, tmp_path):
    # as our own advice for OpenAI's TorchScript archives makes them
    marks = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    state = real.model.state_dict() | {name: torch.tensor(number) for name, number in marks.items()}
    path = real.root / "converted.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    with pytest.raises(SettingError, match=r"write clip\.model = 'ViT-B-16-quickgelu'"):
        ClipModel.find(ClipSettings(model="ViT-B-16", pretrained=str(path)))
    encoder = load(real.name, path)
    same_as_open_clip(encoder, features(encoder), real, *open_clips_way(real))
    folder = path.with_name("converted")
    folder.mkdir()
    path.rename(folder / "open_clip_model.safetensors")
    (folder / CONFIG_NAME).write_text(json.dumps({"model_cfg": real.config | {"quick_gelu": False}}))
    with pytest.raises(SettingError, match='write "quick_gelu": true'):
        ClipModel.find(ClipSettings(model=str(folder)))


@architectures("ViT-B-32")
def test_the_same_weights_as_a_pickle_and_as_a_folder(real):
    for how in ((real.name, real.pickle), (real.folder(),)):
        encoder = load(*how)
        for ours, other in zip(real.features, features(encoder), strict=True):
            assert torch.equal(ours, other)
    # the folder's file is the same one, the pickle is another
    identity, other = real.encoder.identity, encoder.identity
    assert (other["weights_sha256"], other["sha256"]) == (identity["weights_sha256"], identity["sha256"])


@architectures("ViT-B-32")
@pytest.mark.parametrize(("wrong", "what"), [("ViT-B-16", "size mismatch"), ("convnext_tiny", "key")])
def test_weights_of_another_architecture(real, wrong, what):
    with pytest.raises(ModelNotFoundError, match=f"do not fit the architecture .*{what}"):
        load(wrong, real.weights)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@architectures("ViT-B-32")
def test_a_doctored_checkpoint_runs_nothing(real, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {"logit_scale": torch.ones(())}, "note": Touch(tmp_path / "ran")}, path)
    with pytest.raises(ModelNotFoundError, match="could run code"):
        load(real.name, path)
    assert not (tmp_path / "ran").exists()


def write_tokenizer(folder):
    """A tokenizer of SigLIP's kind, made here: pieces of words, an end mark, padding to the whole context."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["</s>", "<pad>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(TEXTS * 3 + ["describe name five things wolf fox tree"], trainer)
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=64
    ).save_pretrained(folder)


SIGLIP = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@architectures("ViT-B-16-SigLIP")
def test_a_siglip_folder(real):
    folder = real.folder(SIGLIP)
    write_tokenizer(folder)
    encoder = load(folder)
    preprocess = image_transform_v2(PreprocessCfg(size=224, **SIGLIP), is_train=False)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", local_files_only=True)
    same_as_open_clip(encoder, features(encoder), real, preprocess, tokenizer)
    assert encoder.context_length == 64
    assert not encoder.fits("sea " * 64)
    assert encoder.identity["preprocess"]["resize_mode"] == "squash"


@architectures("ViT-B-16-SigLIP")
def test_a_siglip_weights_file_gets_its_own_preprocessing_and_says_that_a_tokenizer_is_missing(real, tmp_path):
    settings = ClipSettings(model=real.name, pretrained=str(real.weights), cache_dir=tmp_path)
    found = ClipModel.find(settings)
    # open_clip itself would silently take OpenAI's mean and crop
    assert (found.preprocess["mean"], found.preprocess["resize_mode"]) == ([0.5] * 3, "squash")
    with pytest.raises(ModelNotFoundError, match="tokenizer"):
        found.load_tokenizer()
