"""The same pictures and the same answers a second time: nothing is encoded, nothing is asked, the bits are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from tests.integration.conftest import CLASSES, describe
from tests.support.stream_world import bits


@pytest.fixture
def files(images: list[Image.Image], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def kept(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The usual settings, with everything kept that can be."""
    clip = settings["clip"] | {"feature_store": str(tmp_path / "features")}
    return settings | {"clip": clip, "text": {"feature_cache": str(tmp_path / "features")}}


class Seen:
    """What CLIP and the MLLM are given."""

    def __init__(self, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures = self.tokens = 0
        inputs, tokens = encoder.encode_inputs, encoder._encode_tokens

        def encode(given: Any) -> torch.Tensor:
            self.pictures += len(given)
            return inputs(given)

        def encode_tokens(given: torch.Tensor) -> torch.Tensor:
            self.tokens += 1
            return tokens(given)

        monkeypatch.setattr(encoder, "encode_inputs", encode)
        monkeypatch.setattr(encoder, "_encode_tokens", encode_tokens)


async def streamed(files: list[Path], config: dict[str, Any], encoder: ClipEncoder, **options: Any) -> list[Any]:
    mllm = ScriptedBackend.from_callable(describe)
    ants = await ANTS.build(CLASSES, config=config, encoder=encoder, backend=mllm)
    batches = [bits(scores) async for scores in ants.stream(files, batch_size=8, **options)]
    return [batches, len(mllm.calls)]


@pytest.mark.parametrize("lag", [0, 2])
async def test_a_second_stream(
    lag: int, files: list[Path], kept: dict[str, Any], encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(encoder, monkeypatch)
    first, asked = await streamed(files, kept, encoder, lag=lag)
    assert asked > 4
    assert seen.pictures == 40
    seen.pictures = seen.tokens = 0
    again, asked = await streamed(files, kept, encoder, lag=lag)
    assert again == first
    assert (asked, seen.pictures, seen.tokens) == (0, 0, 0)


async def test_a_store_changes_no_bit(files: list[Path], kept: dict[str, Any], encoder: ClipEncoder) -> None:
    bare = kept | {"clip": {**kept["clip"], "feature_store": None}, "text": {"feature_cache": None}}
    live = {"dispatch": kept["dispatch"] | {"mode": "live"}}
    without = await streamed(files, bare | live, encoder)
    for _ in range(2):
        assert await streamed(files, kept | live, encoder) == without


async def test_a_picture_is_decoded_for_the_mllm_only_where_it_must_see_it(
    files: list[Path], kept: dict[str, Any], encoder: ClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0
    real = ImageFile.ImageFile.load

    def load(image: ImageFile.ImageFile) -> Any:
        nonlocal decoded
        decoded += 1
        return real(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    first, _ = await streamed(files, kept, encoder)
    assert decoded > 40
    decoded = 0
    again, asked = await streamed(files, kept, encoder)
    assert (again, asked, decoded) == (first, 0, 0)
    # the digests are known and the answers are not
    other = kept | {"dispatch": kept["dispatch"] | {"store": str(tmp_path / "another")}}
    anew, asked = await streamed(files, other, encoder)
    assert anew == first
    assert asked > 4
    assert decoded > 4


async def test_a_lexicon_is_encoded_once_whatever_the_classes(
    kept: dict[str, Any], encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ANTS.build(CLASSES, config=kept, encoder=encoder)
    (path,) = Path(kept["text"]["feature_cache"]).glob("*.safetensors")
    before = path.stat()
    seen = Seen(encoder, monkeypatch)
    # one of them is a word of the lexicon
    ants = await ANTS.build(["wheel", "guitar"], config=kept, encoder=encoder)
    assert seen.tokens == 1, "the classes alone"
    assert list(path.parent.glob("*.safetensors")) == [path]
    assert path.stat() == before
    assert "wheel" not in ants.detector.initial.texts
    assert len(ants.detector.initial) == 9
    one = ants.detector.initial
    wanted = encoder.encode_texts([f"The nice {text}." for text in one.texts if text not in ("green", "big")])
    rows = [row for row, text in enumerate(one.texts) if text not in ("green", "big")]
    assert np.allclose(one.features[rows].numpy(), wanted.numpy(), atol=1e-6)
