"""A detector of the emoji world with its own MLLM, built once; and servers that several tests share."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ants_engine import ANTS
from tests.integration.conftest import WORLD
from tests.support.browser import browser
from tests.support.served import Served, beside, serving

__all__ = ["browser", "detector", "jpegs", "server", "strict"]

CLASSES = {name: f"The nice {name}." for name in ("lion", "panda", "banana", "guitar", "bus")}
MARKUP = "</script><img src=x onerror=alert(1)>"
"""The name of a class, which has to stay a name wherever it is shown."""
TOKEN = "correct-horse-battery"
PICTURES = WORLD / "pictures" / "images"


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector folder: forty pictures, twelve of them described, look-alikes for each class."""
    folder = tmp_path_factory.mktemp("served")
    pictures = [str(path) for path in sorted(PICTURES.glob("*/*/00.jpg"))[::6]][:40]
    # what is kept lies beside it, so that streams ask the MLLM with the same settings
    own: dict[str, dict[str, Any]] = {
        "mining": {"max_images": 12},
        "dispatch": {"runs": None},
        "progress": {"bar": "off"},
    }
    for stage, paths in beside(folder / "detector").items():
        own[stage] = {**own.get(stage, {}), **paths}
    ants = asyncio.run(ANTS.build({**CLASSES, MARKUP: "The nice thing."}, pictures, config=str(WORLD), **own))
    assert len(ants.detector.ens)
    ants.save(folder / "detector")
    return folder / "detector"


@pytest.fixture(scope="session")
def server(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server as it is by default, with streams."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(detector, log, "--streams", "3") as running:
        yield running


@pytest.fixture(scope="session")
def strict(detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a token and with limits that are soon reached."""
    folder = tmp_path_factory.mktemp("strict")
    limits = ["--max-body", "2", "--max-pictures", "4", "--max-waiting", "8", "--upload-timeout", "1"]
    environment = {"ANTS_SERVE_TOKEN": TOKEN}
    with serving(detector, folder / "log", *limits, "--batch-size", "4", environment=environment) as running:
        yield running


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    """Sixty-four different pictures, half of them of known classes."""
    known = [
        path for name in ("lion", "panda", "banana", "guitar") for path in sorted(PICTURES.glob(f"*/{name}/*.jpg"))
    ]
    foreign = sorted(PICTURES.glob("far/*/05.jpg"))
    return [path.read_bytes() for path in (*known[:32], *foreign[:32])]
