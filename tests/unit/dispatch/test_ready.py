import asyncio
from pathlib import Path

import pytest

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import FinalBackendError, ModelNotFoundError
from ants_engine.settings.config import Settings
from tests.unit.dispatch.fakes import FakeBackend, make_request


def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"dispatch": {"store": tmp_path / "store", "attempts": 1}})


async def test_a_backend_is_loaded_once_and_only_when_something_is_asked(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with Coordinator(settings(tmp_path), backend=backend) as coordinator:
        assert backend.loads == 0
        requests = [make_request(prompt=f"question {i}", identity=coordinator.identity) for i in range(9)]
        await asyncio.gather(*map(coordinator.submit, requests))
    assert backend.loads == 1
    warm = FakeBackend()
    async with Coordinator(settings(tmp_path), backend=warm) as coordinator:
        await asyncio.gather(*map(coordinator.submit, requests))
    assert (warm.loads, len(warm.calls)) == (0, 0)


@pytest.mark.parametrize(
    ("raised", "kind"), [(ModelNotFoundError("no weights"), ModelNotFoundError), (RuntimeError("x"), FinalBackendError)]
)
async def test_a_backend_that_cannot_be_loaded_is_tried_once(
    raised: Exception, kind: type[Exception], tmp_path: Path
) -> None:
    backend = FakeBackend()
    backend.unloadable = raised
    async with Coordinator(settings(tmp_path), backend=backend) as coordinator:
        requests = [make_request(prompt=f"question {i}", identity=coordinator.identity) for i in range(3)]
        outcomes = await asyncio.gather(*map(coordinator.submit, requests))
    assert [type(outcome.error) for outcome in outcomes] == [kind] * 3
    assert (backend.loads, len(backend.calls)) == (1, 0)
