"""What the tests of documentation and examples share: a warm Python, and folders with the embedded world in them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.warm_python import WarmPython, warm_python

WORLD = ROOT / "examples" / "emoji_world"


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPython]:
    """A Python with everything imported."""
    with warm_python() as running:
        yield running


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What earlier runs in the world have left there: no page asks what another has asked."""
    return tmp_path_factory.mktemp("answers")


@pytest.fixture
def folder(tmp_path: Path, answers: Path) -> Path:
    """An empty folder but for ``examples/``, as it is in a clone."""
    return with_examples(tmp_path, answers)


def with_examples(folder: Path, answers: Path) -> Path:
    """Put examples and world into a folder: settings and scripts as copies, what is large as links."""
    world = folder / "examples" / "emoji_world"
    world.mkdir(parents=True)
    for file in (ROOT / "examples").iterdir():
        if file.is_file():
            shutil.copy(file, world.parent)
    for place in WORLD.iterdir():
        if place.name == "ants.toml":
            shutil.copy(place, world)
        elif place.name != ".ants":
            (world / place.name).symlink_to(place)
    (world / ".ants").symlink_to(answers)
    return folder
