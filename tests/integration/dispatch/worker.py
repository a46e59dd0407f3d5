"""A run of its own process: ``python -m tests.integration.dispatch.worker STORE COUNT LOG DELAY``.

It asks COUNT requests through a coordinator. Each call that the backend answers is one line in LOG.
"""

import asyncio
import os
import sys
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.protocol import Answer, Call, Capabilities
from tests.unit.dispatch.fakes import FakeBackend, make_request, make_settings


async def main(store: Path, count: int, log: Path, delay: float) -> None:
    """Ask, and say on standard output how many answers came from where."""
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def act(call: Call) -> Answer:
        await asyncio.sleep(delay)
        os.write(stream, f"{call.prompt}\n".encode())
        return Answer(f"answer to {call.prompt}")

    backend = FakeBackend(act, Capabilities(max_concurrency=4))
    async with Coordinator(make_settings(store), backend=backend) as coordinator:
        print("running", flush=True)
        outcomes = await asyncio.gather(*(coordinator.submit(make_request(f"{number}")) for number in range(count)))
    wrong = [each for each in outcomes if each.answer != Answer(f"answer to {each.request.prompt}")]
    print(f"wrong {len(wrong)}, from the store {sum(each.source == 'store' for each in outcomes)}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])))
