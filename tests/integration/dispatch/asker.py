"""A run that can be interrupted: ``python -m tests.integration.dispatch.asker BASE_URL STORE COUNT SLOTS GRACE``.

It says ``running`` when it begins to ask, then how it ended and what it left behind.
"""

import asyncio
import sys
import threading
from pathlib import Path

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings
from tests.unit.dispatch.fakes import make_request


def asking(base_url: str, store: Path, slots: int, grace: float) -> Settings:
    mllm = {"backend": "openai", "model": "tiny", "base_url": base_url, "max_concurrency": slots}
    dispatch = DispatchSettings(store=store, grace=grace, runs=store.parent / "runs")
    return Settings(dispatch=dispatch, mllm=MLLMSettings.model_validate(mllm))


async def ask(settings: Settings, count: int, *, word: str = "right") -> int:
    async with Coordinator(settings) as coordinator:
        identity = dict(coordinator.identity)
        tasks = [
            coordinator.submit(make_request(f"{word} question {number}", identity=identity)) for number in range(count)
        ]
        print("running", flush=True)
        return sum(outcome.answer is not None for outcome in await asyncio.gather(*tasks))


def left_behind() -> list[str]:
    """Name threads, sockets and child processes of this process that are more than its main thread."""
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    sockets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        sockets += [target] if target.startswith("socket:") else []
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [*threads, *sockets, *children]


def main() -> None:
    base_url, store, count, slots, grace = sys.argv[1:]
    settings = asking(base_url, Path(store), int(slots), float(grace))
    try:
        ended = f"answered {asyncio.run(ask(settings, int(count)))}"
    except KeyboardInterrupt:
        ended = "interrupted"
    print(ended, left_behind(), flush=True)


if __name__ == "__main__":
    main()
