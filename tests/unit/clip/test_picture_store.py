"""Features of picture files: read in place of encoding, and only for the same bytes, model and limits."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.feature_store import PictureFeatures, ShownPictures, content_key
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import Batch, ClipWorker
from ants_engine.settings.config import ImageSettings
from tests.support.features import image_features

LIMITS = ImageSettings()


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(samples).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.png").write_bytes(png(number))
    return sorted(folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


class Counted:
    """How many pictures an encoder has seen."""

    def __init__(self, encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded = self.prepared = 0
        inputs, preprocess = encoder.encode_inputs, encoder.preprocess

        def encode(given: Any) -> torch.Tensor:
            self.encoded += len(given)
            return inputs(given)

        def prepare(image: Image.Image) -> torch.Tensor:
            self.prepared += 1
            return preprocess(image)

        monkeypatch.setattr(encoder, "encode_inputs", encode)
        monkeypatch.setattr(encoder, "preprocess", prepare)


@pytest.fixture
def counted(encoder: ClipEncoder, monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(encoder, monkeypatch)


async def batches(encoder: ClipEncoder, images: Any, store: Path | None, **more: Any) -> list[Batch]:
    limits = more.pop("limits", LIMITS)
    async with ClipWorker(encoder) as worker:
        stream = worker.image_batches(open_images(images), 4, limits, feature_store=store, **more)
        return [batch async for batch in stream]


def features(found: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.features for batch in found])


async def test_a_second_run_encodes_nothing_and_gives_the_same_bits(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    without = features(await batches(encoder, files, None))
    first = features(await batches(encoder, files, store))
    assert torch.equal(first, without)
    counted.encoded = counted.prepared = 0
    again = await batches(encoder, files, store)
    assert torch.equal(features(again), first)
    assert (counted.encoded, counted.prepared) == (0, 0)
    assert [ref.name for batch in again for ref in batch.refs] == [str(path) for path in files]


async def test_only_new_and_changed_files_are_encoded(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    await batches(encoder, files[:5], store)
    files[1].write_bytes(png(99))
    counted.encoded = 0
    found = features(await batches(encoder, files, store))
    assert counted.encoded == 6
    assert torch.allclose(found, image_features(encoder, [Image.open(path) for path in files]), atol=1e-6, rtol=0)


async def test_the_bytes_count_and_not_where_they_lie(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    await batches(encoder, files, store)
    counted.encoded = 0
    copies = [path.read_bytes() for path in files]
    await batches(encoder, copies, store)
    assert counted.encoded == 0


async def test_pictures_in_memory_are_encoded_each_time(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    pictures = [Image.open(path) for path in files]
    first = features(await batches(encoder, pictures, store))
    assert torch.equal(features(await batches(encoder, pictures, store)), first)
    assert counted.encoded == 20


async def test_a_known_picture_that_must_be_kept_is_decoded(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    await batches(encoder, files, store)
    counted.encoded = counted.prepared = 0
    found = await batches(encoder, (path.read_bytes() for path in files), store, keep_side=30)
    kept = [image for batch in found for image in batch.images]
    assert [image and image.size for image in kept] == [(30, 20)] * 10
    assert (counted.encoded, counted.prepared) == (0, 0)


async def test_what_the_limits_refuse_is_refused_though_it_is_known(
    encoder: ClipEncoder, files: list[Path], store: Path
) -> None:
    await batches(encoder, files, store)
    for limits in (ImageSettings(max_pixels=100), ImageSettings(max_bytes=100)):
        found = await batches(encoder, files, store, limits=limits)
        assert sum(len(batch.failures) for batch in found) == 10


async def test_failures_stay_failures_and_are_not_kept(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    files[2].write_bytes(b"no picture")
    files[3].unlink()
    for _ in range(2):
        found = await batches(encoder, files, store)
        assert [[ref.index for ref, _ in batch.failures] for batch in found] == [[2, 3], [], []]
    assert counted.encoded == 8


async def test_damage_costs_an_encode_and_nothing_else(
    encoder: ClipEncoder, files: list[Path], store: Path, counted: Counted
) -> None:
    first = features(await batches(encoder, files, store))
    (path,) = store.glob("*.rows")
    data = bytearray(path.read_bytes())
    data[3 * (len(data) // 10) + 50] ^= 8
    path.write_bytes(data)
    counted.encoded = 0
    again = features(await batches(encoder, files, store))
    assert counted.encoded == 1
    assert torch.allclose(again, first, atol=1e-6, rtol=0)


def test_another_model_device_or_version_finds_nothing(tmp_path: Path) -> None:
    identity: dict[str, Any] = {"sha256": "a" * 64, "device": "cpu", "versions": {"torch": "1"}, "dim": 3}
    key = content_key(b"x")
    PictureFeatures(tmp_path, identity, LIMITS).save([key], torch.ones(1, 3))
    (same,) = PictureFeatures(tmp_path, dict(identity), LIMITS).load([key])
    assert same is not None
    assert torch.equal(same, torch.ones(3))
    for change in ({"sha256": "b" * 64}, {"device": "cuda"}, {"versions": {"torch": "2"}}, {"dim": 4}):
        assert PictureFeatures(tmp_path, identity | change, LIMITS).load([key]) == [None]


def test_what_was_shown_is_known_by_size(tmp_path: Path) -> None:
    key = content_key(b"x")
    ShownPictures(tmp_path, 448, LIMITS).save(key, "ab" * 32)
    assert ShownPictures(tmp_path, 448, LIMITS).load(key) == "ab" * 32
    assert ShownPictures(tmp_path, 448, LIMITS).load(content_key(b"y")) is None
    assert ShownPictures(tmp_path, 447, LIMITS).load(key) is None
    assert ShownPictures(tmp_path, 448, ImageSettings(max_pixels=5)).load(key) is None
