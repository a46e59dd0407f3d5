import asyncio
from pathlib import Path

import pytest

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import BackendTimeoutError
from ants_engine.protocol import Answer, Call, Capabilities
from ants_engine.settings.config import Settings
from tests.unit.dispatch.fakes import FakeBackend, make_request


@pytest.mark.parametrize("timed", [True, False])
async def test_only_a_server_can_be_too_slow(timed: bool, tmp_path: Path) -> None:
    async def slow(call: Call) -> Answer:
        await asyncio.sleep(0.2)
        return Answer("late")

    limits = {"store": tmp_path / "store", "attempts": 1, "attempt_timeout": 0.05, "deadline": 0.1}
    backend = FakeBackend(slow, Capabilities(enforce_timeouts=timed))  # type: ignore[arg-type]
    async with Coordinator(Settings.model_validate({"dispatch": limits}), backend=backend) as coordinator:
        outcome = await coordinator.submit(make_request(identity=coordinator.identity))
    assert isinstance(outcome.error, BackendTimeoutError) is timed
    assert (outcome.answer is None) is timed
