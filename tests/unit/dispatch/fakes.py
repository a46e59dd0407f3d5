"""A backend, a request and settings that tests can bend."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.protocol import JSON, Answer, Call, Capabilities, Decoding, Picture
from ants_engine.settings.config import DispatchSettings, MLLMSettings, Settings

PICTURE = Picture(data=b"PNG", media_type="image/png", sha256="ab" * 32, width=2, height=3)
IDENTITY: dict[str, JSON] = {"architecture": "tiny", "weights_sha256": "cd" * 32}

Act = Callable[[Call], Answer | Awaitable[Answer]]


class FakeOptions(BaseModel):
    """The settings of a backend that has none to speak of."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str = "fake"


class FakeBackend:
    """Answers with what a function gives, and keeps what it was asked."""

    Options: ClassVar[type[BaseModel]] = FakeOptions

    def __init__(self, act: Act | None = None, capabilities: Capabilities | None = None) -> None:
        self.act = act or (lambda call: Answer(f"answer to {call.prompt}"))
        self._capabilities = capabilities or Capabilities(max_concurrency=4)
        self.calls: list[Call] = []
        self.in_flight = 0
        self.peak = 0
        self.closed = 0
        self.loads = 0
        self.unloadable: Exception | None = None
        self.identified: Mapping[str, JSON] = IDENTITY

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def identity(self) -> Mapping[str, JSON]:
        return self.identified

    async def load(self) -> None:
        self.loads += 1
        if self.unloadable is not None:
            raise self.unloadable

    async def generate(self, call: Call) -> Answer:
        self.calls.append(call)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(0)
            answer = self.act(call)
            return answer if isinstance(answer, Answer) else await answer
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.closed += 1


class FakeResponder:
    """A responder that answers with what a function gives."""

    def __init__(self, act: Callable[[Request], Awaitable[Answer]]) -> None:
        self.act = act
        self.asked: list[Request] = []

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        self.asked.append(request)
        return await self.act(request)


def make_request(prompt: str = "Name 5 things.", **changes: Any) -> Request:
    parts: dict[str, Any] = {
        "task": "vsnl",
        "template": "vsnl/v1",
        "template_sha256": "ef" * 32,
        "prompt": prompt,
        "identity": IDENTITY,
        "decoding": Decoding(max_new_tokens=16),
    }
    return Request(**(parts | changes))


def make_settings(store: Path, **dispatch: Any) -> Settings:
    parts: dict[str, Any] = {"store": store, "runs": None, "grace": 0.2}
    return Settings(
        dispatch=DispatchSettings(**(parts | dispatch)), mllm=MLLMSettings.model_validate({"backend": "fake"})
    )


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)
