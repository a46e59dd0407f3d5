from collections.abc import Callable
from pathlib import Path

import pytest

from ants_engine.backends.huggingface import HuggingFaceBackend, HuggingFaceOptions
from tests.support.mllm_families import FAMILIES
from tests.support.tiny_llava import save_tiny_llava


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """A tiny model folder."""
    return save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Give the folder of a family's tiny model; each is made once."""
    root = tmp_path_factory.mktemp("families")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else FAMILIES[name].save(root / name)

    return folder


@pytest.fixture
async def local():
    """Open backends on folders; they are closed at the end."""
    opened = []

    def open_backend(folder, **options):
        opened.append(HuggingFaceBackend(HuggingFaceOptions(model=str(folder), device="cpu", **options)))
        return opened[-1]

    yield open_backend
    for backend in opened:
        await backend.aclose()
