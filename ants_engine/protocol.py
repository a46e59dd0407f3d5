"""What the engine and an MLLM backend agree on: a `Call` goes in, an `Answer` comes out.

A backend is found through the entry point group ``ants_engine.backends``; the entry point names a class
that satisfies `Backend`. It knows this module and `ants_engine.errors`, and nothing else of the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as an MLLM is shown it: upright RGB, already shrunk, encoded."""

    data: bytes
    """The encoded file (lossless)."""
    media_type: str
    """``image/png``."""
    sha256: str
    """Hex digest of width, height and RGB samples, so that it does not depend on the encoder's version."""
    width: int
    height: int

    def __repr__(self) -> str:
        """Name the picture without its bytes: a repr ends in logs."""
        return f"Picture({self.sha256[:12]}…, {self.width}x{self.height}, {self.media_type}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the MLLM turns logits into text."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 is greedy."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to an MLLM."""

    prompt: str
    picture: Picture | None
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Answer:
    """What an MLLM said. ``text`` is as it came; nothing is stripped."""

    text: str
    finish_reason: str = "stop"
    """``stop``, or ``length`` for an answer that was cut off: the engine, not the backend, keeps the whole items of a
    list then, or raises `TruncatedAnswerError`. What ended for another reason is no answer but an error."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can take."""

    pictures: bool = True
    """It can be shown a picture."""
    text_only: bool = True
    """It can be asked without a picture."""
    max_concurrency: int = 8
    """How many calls it can usefully hold at once."""
    enforce_timeouts: bool = True
    """A call that takes long is a fault. Not so for a model that runs here and works through a queue of its own."""


@runtime_checkable
class Backend(Protocol):
    """An MLLM. Constructed from its own validated options; importing its module must be cheap."""

    Options: ClassVar[type[BaseModel]]
    """Its settings (``extra="forbid"``, frozen), at least ``model``. Filled from ``[mllm]``."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can take; known without loading anything."""
        ...

    async def identity(self) -> Mapping[str, JSON]:
        """Name the model so that two machines agree: weights' sha256 or hub revision, never a path, URL or secret.

        Raises:
            ModelNotFoundError: the model cannot be found.
        """
        ...

    async def load(self) -> None:
        """Get ready to answer: load weights, or do nothing. Awaited once, before the first call, under no time limit.

        Raises:
            UsageError: one of its leaves, such as `ModelNotFoundError`, when that cannot work.
        """
        ...

    async def generate(self, call: Call) -> Answer:
        """Answer one call. Many may be in flight; cancellation ends the call and nothing else.

        Raises:
            BackendError: one of its leaves, never a bare library exception.
        """
        ...

    async def aclose(self) -> None:
        """Give back threads, sockets and memory. May be called twice."""
        ...


@runtime_checkable
class CheckableBackend(Backend, Protocol):
    """A `Backend` that can also take a quick look at whether it will be able to answer."""

    async def check(self) -> None:
        """Find out within seconds, before anything costs time, what would make every question fail.

        Loads no model and asks no question. What cannot be told beforehand passes, and so does what may pass by
        itself, such as a server that is busy.

        Raises:
            UsageError: a package, a model or a setting is missing or wrong.
            BackendError: the server cannot be reached, refuses the key, or has no such model.
        """
        ...
