"""Features of short lists: a list is found, or nothing is."""

from pathlib import Path

import pytest
import torch

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.feature_store import TextRows
from ants_engine.clip.worker import ClipWorker

MODEL = "ab" * 32
TEXTS = ["a dog", "ein Hündchen", "a dog", ""]
FEATURES = torch.arange(12, dtype=torch.float32).reshape(4, 3) / 7


def test_found_again_to_the_bit(tmp_path: Path) -> None:
    rows = TextRows(tmp_path, 3)
    assert rows.load(MODEL, TEXTS) is None
    assert rows.save(MODEL, TEXTS, FEATURES)
    for one in (rows, TextRows(tmp_path, 3)):
        found = one.load(MODEL, TEXTS)
        assert found is not None
        assert torch.equal(found, FEATURES)
        assert found.dtype == torch.float32


def test_another_list_model_or_width_is_not_found(tmp_path: Path) -> None:
    rows = TextRows(tmp_path, 3)
    rows.save(MODEL, TEXTS, FEATURES)
    for texts in (TEXTS[:3], TEXTS[::-1], [*TEXTS, ""], []):
        assert rows.load(MODEL, texts) is None
    assert rows.load("ab" * 8 + "cd" * 24, TEXTS) is None
    assert TextRows(tmp_path, 6).load(MODEL, TEXTS[:2]) is None


def test_nothing_is_kept_without_a_folder_or_of_a_model_without_a_name(tmp_path: Path) -> None:
    for rows, model in ((TextRows(None, 3), MODEL), (TextRows(tmp_path, 3), "")):
        assert not rows.save(model, TEXTS, FEATURES)
        assert rows.load(model, TEXTS) is None
    assert not list(tmp_path.iterdir())


async def test_a_worker_encodes_a_list_once(
    encoder: ClipEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a dog", "a red house", "a dog", "the sky"]
    async with ClipWorker(encoder, tmp_path) as worker:
        first = await worker.encode_texts(texts)
        assert torch.equal(first, encoder.encode_texts(texts))
        assert (await worker.encode_texts([])).shape == (0, encoder.dim)
    monkeypatch.setattr(encoder, "_encode_tokens", lambda tokens: pytest.fail("encoded again"))
    async with ClipWorker(encoder, tmp_path) as worker:
        assert torch.equal(await worker.encode_texts(texts), first)
