"""One tiny CLIP for the tests of this folder."""

from pathlib import Path

import pytest

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.settings.config import ClipSettings
from tests.unit.clip.tiny_clip import write_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="session")
def settings(model_folder: Path) -> ClipSettings:
    return ClipSettings(model=str(model_folder), pretrained=None, device="cpu", batch_size=4, text_batch_size=3)


@pytest.fixture(scope="session")
def encoder(settings: ClipSettings) -> ClipEncoder:
    return ClipEncoder.load(settings)
