"""What the measurements share: questions, settings that point to a server, and printed lines."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.dispatch.request import Outcome, Request
from ants_engine.dispatch.storage.entry import Entry
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.learning.answers import judge_labels
from ants_engine.protocol import JSON, Answer, Decoding
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings


@dataclass
class Report:
    """One bar's figures, and whether it is met."""

    title: str
    lines: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a figure."""
        self.lines.append(line)

    def bar(self, what: str, value: float, limit: float, *, at_least: bool = False) -> None:
        """Add a figure that has a limit."""
        met = value >= limit if at_least else value <= limit
        sign = ">=" if at_least else "<="
        self.lines.append(f"{what}: {value:.4g} (bar {sign} {limit:g}) {'met' if met else 'NOT MET'}")
        if not met:
            self.unmet.append(what)

    def __str__(self) -> str:
        """Return the title and every line."""
        return "\n".join([f"## {self.title}", *(f"- {line}" for line in self.lines)])


def settings_for(base_url: str, store: Path, *, slots: int = 32, **dispatch: Any) -> Settings:
    """Point the openai backend to a server on loopback, with a store of its own."""
    os.environ.setdefault("OPENAI_API_KEY", "not-a-key-but-as-long-as-one")
    parts: dict[str, Any] = {"store": store, "runs": None, "max_concurrency": slots}
    return Settings(
        dispatch=DispatchSettings(**(parts | dispatch)),
        mllm=MLLMSettings.model_validate(
            {"backend": "openai", "model": "tiny", "base_url": base_url, "max_concurrency": slots}
        ),
    )


def make_requests(count: int, identity: "dict[str, JSON]", first: int = 0) -> list[Request]:
    """Make questions that all differ: question ``number N``."""
    return [
        Request(
            task="vsnl",
            template="vsnl/v1",
            template_sha256="0" * 64,
            prompt=f"number {number}",
            identity=identity,
            decoding=Decoding(max_new_tokens=32),
            judge=judge_labels,
        )
        for number in range(first, first + count)
    ]


async def ask_all(settings: Settings, count: int) -> tuple[list[Outcome], float]:
    """Ask so many questions through a coordinator; return how each ended, and the seconds from opening to closing."""
    began = time.perf_counter()
    async with Coordinator(settings) as coordinator:
        requests = make_requests(count, dict(coordinator.identity))
        outcomes = await asyncio.gather(*(coordinator.submit(request) for request in requests))
    return list(outcomes), time.perf_counter() - began


async def stored(folder: Path) -> list[Entry]:
    """Read a whole store, verifying each entry."""
    async with ResponseStore(folder, strict=True) as store:
        return [entry async for entry in store.entries()]


def answers_of(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the answered ones: prompt → text."""
    return {entry.request.prompt: entry.ending.text for entry in entries if isinstance(entry.ending, Answer)}


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that goes away."""
    with TemporaryDirectory(prefix="ants-reliability-") as folder:
        yield Path(folder)


def cpu_seconds() -> float:
    """Return the processor time of this process so far, its own and the system's for it."""
    used = os.times()
    return used.user + used.system
