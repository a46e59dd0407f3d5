import pytest

from tests.support.tiny_llava import save_tiny_llava


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """A tiny model folder."""
    return save_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")
