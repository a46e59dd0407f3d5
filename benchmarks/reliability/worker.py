"""A process of its own that asks: ``python -m benchmarks.reliability.worker BASE_URL STORE COUNT SLOTS``.

It says ``running`` when it begins to ask, and in the end one line of JSON.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from benchmarks.reliability.harness import make_requests, settings_for
from tests.support.faulty.plan import right_answer


async def main(base_url: str, store: Path, count: int, slots: int) -> None:
    """Ask, and say what came of it."""
    began = time.perf_counter()
    async with Coordinator(settings_for(base_url, store, slots=slots)) as coordinator:
        print("running", flush=True)
        requests = make_requests(count, dict(coordinator.identity))
        outcomes = await asyncio.gather(*(coordinator.submit(request) for request in requests))
    found = [one.answer.text if one.answer is not None else None for one in outcomes]
    right = sum(text == right_answer(one.request.prompt) for text, one in zip(found, outcomes, strict=True))
    seconds = time.perf_counter() - began
    from_store = sum(one.source == "store" for one in outcomes)
    print(json.dumps({"right": right, "from_store": from_store, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
