"""Replay opens no socket: an audit hook in a process of its own watches."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.integration.dispatch import worker

CODE = """
import asyncio, sys
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from tests.unit.dispatch.fakes import FakeBackend, make_request, make_settings

seen = []


async def main():
    settings = make_settings(Path(sys.argv[1]), mode="replay")
    # The loop's own wake-up pair is made before; from here on nobody may touch a socket, or start a process.
    sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("socket.", "subprocess.")) else None)
    async with Coordinator(settings, backend=FakeBackend()) as coordinator:
        outcomes = await asyncio.gather(*(coordinator.submit(make_request(f"{number}")) for number in range(21)))
    print([outcome.source for outcome in outcomes].count("store"), type(outcomes[20].error).__name__, seen)
    import socket
    socket.socket().close()
    print(seen)


asyncio.run(main())
"""


def test_replay_opens_no_socket(tmp_path: Path) -> None:
    asyncio.run(worker.main(tmp_path / "store", 20, tmp_path / "log", 0.0))
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["21 ReplayMissError []", "['socket.__new__']"]
