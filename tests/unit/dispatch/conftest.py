"""A store in a folder of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ants_engine.dispatch.storage.store import ResponseStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[ResponseStore]:
    async with ResponseStore(folder) as opened:
        yield opened
