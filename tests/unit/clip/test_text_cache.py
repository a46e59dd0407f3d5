"""Kept text features: found again to the bit, never trusted when damaged, never in the way."""

import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ants_engine.clip.feature_store import TextFeatureCache

MODEL = "ab" * 32
TEXTS = ["a dog", "ein Hündchen", "a\ttab", ""]
FEATURES = torch.arange(12, dtype=torch.float32).reshape(4, 3)


@pytest.fixture
def cache(tmp_path: Path) -> TextFeatureCache:
    return TextFeatureCache(tmp_path / "deep" / "cache")


def saved(cache: TextFeatureCache) -> Path:
    assert cache.save(MODEL, TEXTS, FEATURES)
    path = cache.path(MODEL, TEXTS)
    assert path is not None
    return path


def test_found_again_to_the_bit(cache: TextFeatureCache) -> None:
    assert cache.load(MODEL, TEXTS) is None
    path = saved(cache)
    found = cache.load(MODEL, TEXTS)
    assert found is not None
    assert torch.equal(found, FEATURES)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_another_model_or_other_texts_are_not_found(cache: TextFeatureCache) -> None:
    saved(cache)
    assert cache.load("cd" * 32, TEXTS) is None
    for texts in (TEXTS[:3], TEXTS[::-1], ["a dog,", *TEXTS[1:]], [*TEXTS, ""]):
        assert cache.load(MODEL, texts) is None


def test_a_digest_that_only_begins_alike_is_not_found(cache: TextFeatureCache) -> None:
    saved(cache)
    assert cache.load(MODEL[:16] + "0" * 48, TEXTS) is None


@pytest.mark.parametrize(
    "how", ["empty", "cut", "flipped", "garbage", "huge header", "folder", "other", "unlabelled", "half"]
)
def test_a_damaged_file_is_encoded_anew(how: str, cache: TextFeatureCache, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(cache)
    data = path.read_bytes()
    if how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "other":
        save_file({"x": FEATURES}, path)
    elif how == "unlabelled":
        save_file({"features": FEATURES}, path)
    elif how == "half":
        save_file({"features": FEATURES.half()}, path, metadata={"model_sha256": MODEL})
    else:
        flipped = bytearray(data)
        flipped[-2] ^= 1
        bad = {"empty": b"", "cut": data[:-5], "flipped": bytes(flipped), "garbage": b"\xff" * 300,
               "huge header": b"\xff" * 7 + b"\x7f" + data}[how]  # fmt: skip
        path.write_bytes(bad)
    with caplog.at_level(logging.WARNING):
        assert cache.load(MODEL, TEXTS) is None
    assert "encoded anew" in caplog.text
    if how != "folder":
        assert cache.save(MODEL, TEXTS, FEATURES)
        assert cache.load(MODEL, TEXTS) is not None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = TextFeatureCache(tmp_path / "file" / "cache")
    assert not cache.save(MODEL, TEXTS, FEATURES)
    assert cache.load(MODEL, TEXTS) is None


def test_a_full_disk_leaves_nothing_behind(cache: TextFeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(cache)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not cache.save(MODEL, TEXTS, FEATURES + 1)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    found = cache.load(MODEL, TEXTS)
    assert found is not None
    assert torch.equal(found, FEATURES)


def test_without_a_folder_nothing_is_kept() -> None:
    cache = TextFeatureCache(None)
    assert not cache.save(MODEL, TEXTS, FEATURES)
    assert cache.load(MODEL, TEXTS) is None


def test_features_that_are_a_view(cache: TextFeatureCache) -> None:
    view = torch.arange(24, dtype=torch.float32).reshape(6, 4).T
    assert cache.save(MODEL, TEXTS, view)
    found = cache.load(MODEL, TEXTS)
    assert found is not None
    assert torch.equal(found, view)
