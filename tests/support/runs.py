"""Runs to write down: outcomes of every kind, and a process that is killed in the middle of one.

``python -m tests.support.runs ROOT COUNT PAUSE`` writes COUNT requests into a run folder, a pause (s) after each, and
then waits to be killed, or, told ``end`` on standard input, ends.
"""

import asyncio
import sys
from pathlib import Path

from ants_engine.dispatch.request import Outcome, Source
from ants_engine.dispatch.runs.run_folder import RunFolder
from ants_engine.errors import RateLimitError, RefusedAnswerError
from ants_engine.protocol import JSON, Answer
from ants_engine.settings.config import Settings
from tests.unit.dispatch.fakes import make_request

FACTS: dict[str, JSON] = {
    "mode": "record",
    "backend": "openai",
    "model": "tiny",
    "identity": {"backend": "openai", "model": "tiny"},
    "slots": 4,
}


def answered(number: int, source: Source = "backend", attempts: int = 1, seconds: float = 0.25) -> Outcome:
    """An answer of 10 prompt tokens and 3 others."""
    return Outcome(make_request(f"{number}"), Answer("A hidden answer", "stop", 10, 3), None, source, attempts, seconds)


def failed(number: int, error: Exception | None = None) -> Outcome:
    """A refusal, or another error."""
    error = error or RefusedAnswerError("the MLLM declined")
    return Outcome(make_request(f"{number}", picture_sha256="ab" * 32), None, error, "backend", 1, 0.5)


def tell(folder: RunFolder, outcome: Outcome) -> None:
    """Tell of a request as a coordinator does: each attempt, then the end."""
    for attempt in range(1, outcome.attempts):
        folder.attempted(outcome.request, attempt, 0.1, RateLimitError("too fast"))
    if outcome.source == "backend":
        ending = outcome.answer or outcome.error
        assert ending is not None
        folder.attempted(outcome.request, outcome.attempts, outcome.seconds, ending)
    folder.ended(outcome)


async def main(root: Path, count: int, pause: float) -> None:
    """Write a run, and wait."""
    folder = RunFolder(root, Settings())
    folder.begin(FACTS)
    for number in range(count):
        tell(folder, answered(number))
        await asyncio.sleep(pause)
    print(folder.path, flush=True)
    if (await asyncio.to_thread(sys.stdin.readline)).strip() == "end":
        folder.close("done")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
