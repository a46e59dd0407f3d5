"""Weights files by the names of their tensors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.model import ClipModel
from ants_engine.clip.weights import OPENAI_MARKS, has_openai_marks, tensor_names, without_openai_marks
from ants_engine.errors import ModelNotFoundError, SettingError
from ants_engine.settings.config import ClipSettings
from tests.unit.clip.tiny_clip import write_model

WEIGHTS = "open_clip_model.safetensors"
STATE = {"logit_scale": torch.tensor(1.0), "weight": torch.arange(4.0)} | {n: torch.tensor(7) for n in OPENAI_MARKS}


def write(path: Path, how: str) -> Path:
    if how == "safetensors":
        save_file(STATE, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    state = {"epoch": 3, "state_dict": STATE} if how == "a training checkpoint" else STATE
    torch.save(state, path, _use_new_zipfile_serialization=how != "the old format")
    return path


@pytest.mark.parametrize("how", ["safetensors", "a pickle", "the old format", "a training checkpoint"])
def test_openais_marks_are_found_and_dropped(how: str, tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pt", how)
    assert tensor_names(path) == STATE.keys()
    assert has_openai_marks(path)
    kept = without_openai_marks(path)
    assert kept.keys() == {"logit_scale", "weight"}
    assert torch.equal(kept["weight"], STATE["weight"])


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no archive"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.npz"])
def test_a_damaged_file_has_no_names(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert tensor_names(tmp_path / name) == frozenset()
    assert not has_openai_marks(tmp_path / name)


def test_a_folder_with_openais_weights_has_to_say_quick_gelu(tmp_path: Path) -> None:
    marks = {name: torch.tensor(7) for name in OPENAI_MARKS}
    features = []
    for quick in (True, False):
        folder = write_model(tmp_path / f"model-{quick}", quick_gelu=quick)
        settings = ClipSettings(model=str(folder), device="cpu")
        if quick:
            features.append(ClipEncoder.load(settings).encode_texts(["a dog"]))
        save_file(load_file(folder / WEIGHTS) | marks, folder / WEIGHTS)
        if quick:
            features.append(ClipEncoder.load(settings).encode_texts(["a dog"]))
        else:
            with pytest.raises(SettingError, match='"quick_gelu": true'):
                ClipModel.find(settings)
    assert torch.equal(*features)


def test_weights_of_transformers_are_named_as_such(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    save_file({"vision_model.encoder.layers.0.layer_norm1.bias": torch.zeros(3)}, folder / WEIGHTS)
    with pytest.raises(ModelNotFoundError, match="format of transformers"):
        ClipEncoder.load(ClipSettings(model=str(folder), device="cpu"))
