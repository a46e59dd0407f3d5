"""Bar 7: a replay in a network namespace without any network, and an audit hook that no socket gets past."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from benchmarks.reliability.harness import Report, ask_all, make_requests, scratch, settings_for
from tests.support.faulty.plan import right_answer
from tests.support.process import faulty_server

REQUESTS = 500


def run(requests: int = REQUESTS) -> Report:
    """Record against a server, end the server, replay."""
    report = Report(f"7. replay of {requests} requests without a network")
    with scratch() as folder:
        store = folder / "store"
        with faulty_server(folder / "server.log") as server:
            asyncio.run(ask_all(settings_for(server.base_url, store), requests))
            address = server.base_url
        command = [sys.executable, "-m", "benchmarks.reliability.replay", address, str(store), f"{requests}"]
        for name, prefix in (("with the network there", []), ("unshare -rn", ["unshare", "-rn"])):
            if prefix and shutil.which("unshare") is None:
                report.say("unshare is not installed: not measured")
                continue
            said = json.loads(subprocess.run([*prefix, *command], capture_output=True, check=True).stdout)
            report.say(f"{name}: {said['seconds']:.2f} s")
            report.bar("right answers", said["right"], requests, at_least=True)
            report.bar("sockets opened", said["sockets"], 0)
            report.bar("processes started", said["processes"], 0)
    return report


async def _replay(address: str, store: Path, requests: int) -> dict[str, float]:
    seen: list[str] = []
    # The loop's own wake-up pair is made before; from here on nobody may touch a socket, or start a process.
    sys.addaudithook(
        lambda event, _: seen.append(event) if event.startswith(("socket.", "subprocess.", "os.fork")) else None
    )
    settings = settings_for(address, store, mode="replay")
    began = asyncio.get_running_loop().time()
    async with Coordinator(settings) as coordinator:
        asked = make_requests(requests, dict(coordinator.identity))
        outcomes = await asyncio.gather(*(coordinator.submit(request) for request in asked))
    return {
        "right": sum(
            one.answer is not None and one.answer.text == right_answer(one.request.prompt) for one in outcomes
        ),
        "sockets": sum(event.startswith("socket.") for event in seen),
        "processes": sum(not event.startswith("socket.") for event in seen),
        "seconds": asyncio.get_running_loop().time() - began,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(_replay(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))))
    else:
        print(run())
