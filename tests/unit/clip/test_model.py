"""Finding a model: what is pinned, what is refused, and what is said when there is none."""

import json
import logging
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.model import CONFIG_NAME, ClipModel, quiet_logging
from ants_engine.errors import FeatureError, ModelNotFoundError, SettingError
from ants_engine.settings.config import ClipSettings
from tests.support.features import image_features
from tests.unit.clip.tiny_clip import MODEL_CFG, write_model

WEIGHTS = "open_clip_model.safetensors"
TINY = "tiny-test-model"


def find(model: str | Path, pretrained: str | Path | None = None) -> ClipModel:
    return ClipModel.find(ClipSettings(model=str(model), pretrained=None if pretrained is None else str(pretrained)))


def load(model: str | Path, pretrained: str | Path | None = None, **more: Any) -> ClipEncoder:
    given = None if pretrained is None else str(pretrained)
    return ClipEncoder.load(ClipSettings(model=str(model), pretrained=given, device="cpu", **more))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def architectures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two built-in names for the tiny architecture, as open_clip has them for its own."""
    # only where it is needed: it takes seconds, and every process of pytest-xdist collects all tests
    import open_clip

    own = {key: value for key, value in MODEL_CFG.items() if key != "text_cfg"}
    own["text_cfg"] = {key: value for key, value in MODEL_CFG["text_cfg"].items() if key != "hf_tokenizer_name"}
    own["text_cfg"] |= {"vocab_size": 49408}
    registry = {TINY: own, f"{TINY}-quickgelu": own | {"quick_gelu": True}}
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", open_clip.factory._MODEL_CONFIGS | registry)


@pytest.fixture
def weights(architectures: None, tmp_path: Path) -> Path:
    """A weights file for these, away from any folder that describes it."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(3)
        with quiet_logging():
            state = open_clip.create_model(TINY, pretrained_text=False).state_dict()
    path = tmp_path / "weights" / "tiny.safetensors"
    path.parent.mkdir()
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_the_ways_to_write_a_folder(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model_folder.parent)
    monkeypatch.setenv("HOME", str(model_folder.parent))
    for name in (str(model_folder), "./model", f"../{model_folder.parent.name}/model", "~/model", "local-dir:model"):
        found = find(name, "openai")
        assert (found.architecture, found.pretrained) == ("local-dir", None)
        assert found.folder == found.weights.parent
    monkeypatch.chdir(model_folder)
    assert find(".").weights.name == WEIGHTS


def test_features_are_open_clips_own(model_folder: Path, encoder: ClipEncoder) -> None:
    import open_clip

    with quiet_logging():
        model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{model_folder}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{model_folder}", local_files_only=True)
    model.eval()
    images = [Image.radial_gradient("L").resize((50, 40)).convert("RGB"), Image.new("RGB", (33, 64), (200, 10, 90))]
    texts = ["a big red dog in the water .", "cat"]
    with torch.no_grad():
        pictures = model.encode_image(torch.stack([preprocess(image) for image in images]), normalize=True)
        words = model.encode_text(tokenizer(texts), normalize=True)
    assert torch.allclose(image_features(encoder, images), pictures, atol=1e-6, rtol=0)
    assert torch.allclose(encoder.encode_texts(texts), words, atol=1e-6, rtol=0)
    assert encoder.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))


def test_a_folders_preprocessing_is_used_and_recorded(model_folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    kept = encoder.identity["preprocess"]
    assert isinstance(kept, dict)
    assert (kept["mean"], kept["interpolation"], kept["size"]) == ([0.5, 0.4, 0.3], "bilinear", [32, 32])
    other = write_model(tmp_path / "other", preprocess={"mean": [0.1, 0.1, 0.1]})
    assert load(other).identity_sha256 != encoder.identity_sha256


def test_the_root_logger_is_left_alone(model_folder: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = []
    try:
        load(model_folder)
        assert root.handlers == []
    finally:
        root.handlers = before


def _break(folder: Path, how: str) -> None:
    config = folder / CONFIG_NAME
    if how == "no config":
        config.unlink()
    elif how == "no json":
        config.write_text("{")
    elif how == "nested json":
        config.write_text("[" * 100_000)
    elif how == "endless":
        config.unlink()
        config.symlink_to("/dev/zero")
    elif how == "no model_cfg":
        config.write_text(json.dumps({"preprocess_cfg": {}}))
    elif how == "list":
        config.write_text("[]")
    elif how == "no weights":
        (folder / WEIGHTS).unlink()
    elif how == "two weights":
        (folder / WEIGHTS).rename(folder / "a.safetensors")
        shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
    elif how == "damaged weights":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    elif how == "other weights":
        save_file({"x": torch.zeros(3)}, folder / WEIGHTS)
    elif how == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no config", CONFIG_NAME),
        ("no json", "cannot be read"),
        ("nested json", "cannot be read"),
        ("endless", "MiB of text"),
        ("no model_cfg", "model_cfg"),
        ("list", "model_cfg"),
        ("no weights", "no weights"),
        ("two weights", r"a\.safetensors, b\.safetensors"),
        ("damaged weights", "cannot be loaded"),
        ("other weights", "do not fit"),
        ("no tokenizer", "tokenizer"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_folder_that_cannot_be_used(how: str, said: str, model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    _break(folder, how)
    with pytest.raises(ModelNotFoundError, match=said) as caught:
        load(folder)
    assert "examples/emoji_world/ants.toml" in str(caught.value)


def test_one_weights_file_of_any_name_is_enough(model_folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    torch.save(load_file(folder / WEIGHTS), folder / "epoch_9.pth")
    (folder / WEIGHTS).unlink()
    other = load(folder)
    assert torch.equal(other.encode_texts(["a dog"]), encoder.encode_texts(["a dog"]))


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_pickled_objects_are_not_loaded(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / WEIGHTS).unlink()
    torch.save({"state_dict": _Evil(tmp_path / "ran")}, folder / "model.pth")
    with pytest.raises(ModelNotFoundError, match="safetensors"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_folder_cannot_ask_for_its_own_code(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((folder / CONFIG_NAME).read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass T: pass\n")
    described = json.loads((folder / "tokenizer_config.json").read_text())
    described |= {"auto_map": {"AutoTokenizer": ["evil.T", None]}, "tokenizer_class": "T"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    with suppress(ModelNotFoundError):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_no_numbers(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    state = load_file(folder / WEIGHTS)
    state["text_projection"][0, 0] = float("nan")
    save_file(state, folder / WEIGHTS)
    with pytest.raises(FeatureError, match="not finite"):
        load(folder)


# ---- names, tags and weights files -----------------------------------------------------------------------------------


def test_a_weights_file(weights: Path) -> None:
    encoder = load(TINY, weights)
    assert encoder.identity["architecture"] == TINY
    assert encoder.identity["pretrained"] == "file"
    assert str(weights.parent) not in json.dumps(encoder.identity)
    again = ClipSettings(model=TINY, pretrained=str(weights), device="cpu")
    assert ClipEncoder.load(again).identity_sha256 == encoder.identity_sha256


def test_the_activation_follows_the_name(weights: Path) -> None:
    plain, quick = load(TINY, weights), load(f"{TINY}-quickgelu", weights)
    assert (plain.identity["quick_gelu"], quick.identity["quick_gelu"]) == (False, True)
    assert plain.identity_sha256 != quick.identity_sha256
    assert not torch.allclose(plain.encode_texts(["a dog"]), quick.encode_texts(["a dog"]), atol=1e-5)


@pytest.mark.parametrize("name", ["ViT-B-16-openai.safetensors", "vit_quickgelu.safetensors"])
def test_openais_weights_in_a_model_of_another_activation_are_refused(name: str, weights: Path) -> None:
    path = weights.rename(weights.with_name(name))
    with pytest.raises(SettingError, match=f"{TINY}-quickgelu"):
        load(TINY, path)
    assert load(f"{TINY}-quickgelu", path).identity["quick_gelu"] is True


def test_a_config_beside_a_weights_file_is_believed(weights: Path) -> None:
    beside = {"model_cfg": MODEL_CFG | {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}
    weights.with_name(CONFIG_NAME).write_text(json.dumps(beside))
    encoder = load(TINY, weights)
    assert encoder.identity["quick_gelu"] is True
    assert encoder.identity["preprocess"]["mean"] == [0.1, 0.2, 0.3]  # type: ignore[index, call-overload]
    beside["model_cfg"] = MODEL_CFG
    weights.with_name(CONFIG_NAME).write_text(json.dumps(beside))
    with pytest.raises(SettingError, match="trained without"):
        load(f"{TINY}-quickgelu", weights)


@pytest.mark.usefixtures("architectures")
def test_a_tag_pins_activation_and_preprocessing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = {"hf_hub": "someone/tiny/", "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0), "interpolation": "bicubic",
           "resize_mode": "squash", "quick_gelu": True}  # fmt: skip
    monkeypatch.setattr("open_clip.pretrained._PRETRAINED", {TINY: {"openai": tag}})
    asked: list[Any] = []

    def fetch(repo: str, names: list[str], cache_dir: Path | None) -> Path:
        asked.append((repo, names[0]))
        return weights

    monkeypatch.setattr("ants_engine.clip.model.fetch_from_hub", fetch)
    encoder = load(TINY, "openai")
    assert asked == [("someone/tiny", WEIGHTS)]
    assert encoder.identity["quick_gelu"] is True
    assert encoder.identity["pretrained"] == "openai"
    preprocess = encoder.identity["preprocess"]
    assert isinstance(preprocess, dict)
    assert (preprocess["mean"], preprocess["resize_mode"]) == ([0.1, 0.2, 0.3], "squash")


@pytest.mark.usefixtures("architectures")
def test_a_file_whose_preprocessing_is_not_known(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"one": {"hf_hub": "a/b/", "mean": (0.5, 0.5, 0.5)}, "two": {"hf_hub": "a/c/", "mean": (0.1, 0.1, 0.1)}}
    monkeypatch.setattr("open_clip.pretrained._PRETRAINED", {TINY: tags})
    with pytest.raises(SettingError, match="different preprocessing"):
        load(TINY, weights)
    monkeypatch.setattr("open_clip.pretrained._PRETRAINED", {TINY: {"one": tags["one"]}})
    assert load(TINY, weights).identity["preprocess"]["mean"] == [0.5, 0.5, 0.5]  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("model", "pretrained", "error", "said"),
    [
        ("ViT-B-16-quickgeluu", "openai", ModelNotFoundError, "Did you mean ViT-B-16-quickgelu"),
        ("zzz", "openai", ModelNotFoundError, "no architecture"),
        ("ViT-B-16", "nope", ModelNotFoundError, "known: openai, "),
        ("ViT-B-16", "/no/weights.pt", ModelNotFoundError, "nor a file"),
        ("ViT-B-16", None, SettingError, "pretrained is empty"),
        ("./no/folder", None, ModelNotFoundError, "no such folder"),
        ("local-dir:no/folder", None, ModelNotFoundError, "no such folder"),
    ],
)
def test_names_that_lead_nowhere(model: str, pretrained: str | None, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        find(model, pretrained)


def test_a_torchscript_archive_says_how_to_convert_it(weights: Path) -> None:
    import zipfile

    path = weights.with_name("script.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/constants.pkl", b"\x80\x02).")
        archive.writestr("script/data.pkl", b"\x80\x02}.")
        archive.writestr("script/version", "3\n")
        archive.writestr("script/code/x.py", "")
    with pytest.raises(ModelNotFoundError, match="safetensors"):
        load(TINY, path)


# ---- the hub ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", ["ViT-B-16-quickgelu", "hf-hub:someone/clip"])
def test_without_a_network_the_answer_is_quick_and_helps(model: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(ModelNotFoundError) as caught:
        ClipModel.find(ClipSettings(model=model, cache_dir=tmp_path))
    assert time.monotonic() - begin < 5
    for words in (model, "cannot be reached", "./clip", "weights.safetensors", "examples/emoji_world/ants.toml"):
        assert words in str(caught.value)


def test_offline_mode_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE"):
        ClipModel.find(ClipSettings(cache_dir=tmp_path))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _cached(cache: Path, repo: str, *files: Path) -> None:
    """Lay files out as the hub's cache does."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    snapshot = root / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in files:
        shutil.copy(file, snapshot / file.name)


@pytest.mark.usefixtures("no_network")
def test_what_is_cached_needs_no_network(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {TINY: {"openai": {"hf_hub": "timm/tiny.openai/", "quick_gelu": True}}}
    monkeypatch.setattr("open_clip.pretrained._PRETRAINED", tags)
    _cached(tmp_path / "hub", "timm/tiny.openai", weights.rename(weights.with_name(WEIGHTS)))
    encoder = load(TINY, "openai", cache_dir=tmp_path / "hub")
    assert encoder.identity["revision"] == COMMIT
    assert str(tmp_path) not in json.dumps(encoder.identity)


@pytest.mark.usefixtures("no_network")
def test_a_whole_model_from_the_hubs_cache(model_folder: Path, encoder: ClipEncoder, tmp_path: Path) -> None:
    _cached(tmp_path / "hub", "someone/clip", *model_folder.iterdir())
    found = ClipModel.find(ClipSettings(model="hf-hub:someone/clip", cache_dir=tmp_path / "hub"))
    assert found.revision == COMMIT
    assert found.weights_sha256() == encoder.identity["weights_sha256"]
    assert found.config == json.loads((model_folder / CONFIG_NAME).read_text())["model_cfg"]


def test_a_device_that_is_not_there(model_folder: Path) -> None:
    for device in ("cuda:77", "nonsense", "xpu", "hpu", "meta"):
        with pytest.raises(SettingError, match=device):
            ClipEncoder.load(ClipSettings(model=str(model_folder), device=device))
