"""A request to an MLLM as a value, its progress, its outcome, and the identity of the model."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ants_engine.common.canonical_json import canonical, digest, excerpt, first_fault
from ants_engine.dispatch.prompt_template import PromptTemplate
from ants_engine.errors import ImageUnreadableError, TemplateError, UnusableAnswerError
from ants_engine.protocol import JSON, Answer, Decoding, Picture

SCHEMA = 1
"""Version of how keys are made. It is part of the key, so that another version never finds these answers."""

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class LazyPicture:
    """A picture that is read only when it is sent."""

    sha256: str
    """As in `Picture`; the loaded picture must have it."""
    load: Callable[[], Awaitable[Picture]]
    """Reads it; called again for every attempt."""


PictureSource: TypeAlias = Picture | LazyPicture
Judge: TypeAlias = Callable[[str, str, bool], str | type[UnusableAnswerError]]
"""Judges an answer by its text, the prompt, and whether it was truncated. Returns the text to keep, or the class of the
error: `RefusedAnswerError`, `EmptyAnswerError` for an echo of the prompt, `TruncatedAnswerError`."""


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """One question to an MLLM. Two requests are equal when their keys are."""

    task: str
    """``ens`` or ``vsnl``."""
    template: str
    """The template's name, ``<task>/v<N>``."""
    template_sha256: str
    """The template file's digest."""
    prompt: str
    """The rendered text."""
    identity: Mapping[str, JSON]
    """The model, as its backend identifies it."""
    decoding: Decoding
    """How the answer is decoded."""
    picture_sha256: str | None = None
    """Digest of the picture that is shown, if any."""
    picture: PictureSource | None = None
    """The picture. Not part of the key."""
    label: str = ""
    """The picture's name for messages. Not part of the key, and never stored."""
    judge: Judge | None = None
    """Judges answers before they are stored. Not part of the key, and never stored."""
    key: str = field(init=False)
    """Hex sha256 of ``text``."""
    text: str = field(init=False)
    """Canonical JSON of everything that determines the answer."""

    def __post_init__(self) -> None:
        """Compute the key once; later changes of the identity have no effect.

        Raises:
            TypeError: the identity is not JSON.
            ValueError: a number is not finite, or the prompt holds a lone surrogate.
        """
        self.prompt.encode("utf-8")
        payload = {
            "schema": SCHEMA,
            "task": self.task,
            "template": {"ref": self.template, "sha256": self.template_sha256},
            "prompt": self.prompt,
            "picture": self.picture_sha256,
            "model": dict(self.identity),
            # 0, 0.0 and -0.0 are one temperature
            "decoding": {
                "max_new_tokens": self.decoding.max_new_tokens,
                "temperature": float(self.decoding.temperature) + 0.0,
            },
        }
        object.__setattr__(self, "text", canonical(payload))
        object.__setattr__(self, "key", digest(self.text))

    @classmethod
    def of(
        cls,
        template: PromptTemplate,
        prompt: str,
        *,
        identity: Mapping[str, JSON],
        decoding: Decoding,
        picture: PictureSource | None = None,
        label: str = "",
        judge: Judge | None = None,
    ) -> "Request":
        """Create a request from a template and its rendered text.

        Raises:
            TemplateError: the template needs a picture and there is none, or the other way round.
        """
        if template.file.needs_picture is not (picture is not None):
            need = "a picture, and none was given" if picture is None else "no picture, and one was given"
            raise TemplateError(f"template {template.ref} takes {need}")
        return cls(
            task=template.file.task,
            template=template.ref,
            template_sha256=template.sha256,
            prompt=prompt,
            identity=identity,
            decoding=decoding,
            picture_sha256=None if picture is None else picture.sha256,
            picture=picture,
            label=label,
            judge=judge,
        )

    @classmethod
    def from_payload(cls, payload: object) -> "Request":
        """Read what `payload` returned, without the picture.

        Raises:
            ValueError: malformed.
        """
        try:
            parts = _Payload.model_validate(payload)
        except ValidationError as error:
            raise ValueError(f"request.{first_fault(error)}") from error
        parts.prompt.encode("utf-8")
        temperature = parts.decoding.temperature
        spelled: Any = payload
        if repr(spelled["decoding"]["temperature"]) != repr(temperature + 0.0) or spelled["schema"] is True:
            raise ValueError("request: not spelled as this version spells it")
        text = canonical(payload)
        request = object.__new__(cls)
        # without __post_init__, which would take a third of the time of a lookup
        request.__dict__.update(
            task=parts.task,
            template=parts.template.ref,
            template_sha256=parts.template.sha256,
            prompt=parts.prompt,
            identity=parts.model,
            decoding=Decoding(parts.decoding.max_new_tokens, temperature),
            picture_sha256=parts.picture,
            picture=None,
            label="",
            judge=None,
            text=text,
            key=digest(text),
        )
        return request

    def payload(self) -> dict[str, Any]:
        """Return the parts of the key as new JSON."""
        parts: dict[str, Any] = json.loads(self.text)
        return parts

    async def fetch_picture(self) -> Picture | None:
        """Return the picture, reading it if need be.

        Raises:
            ImageError: it cannot be read, or has changed since the request was made.
        """
        if self.picture_sha256 is None:
            return None
        name = self.label or f"picture {self.picture_sha256[:12]}…"
        if self.picture is None:
            raise ImageUnreadableError(name, "the request carries its digest only, so it cannot be shown")
        picture = self.picture if isinstance(self.picture, Picture) else await self.picture.load()
        if picture.sha256 != self.picture_sha256:
            raise ImageUnreadableError(name, "changed since it was first read; run again")
        return picture

    def without_picture(self) -> "Request":
        """Return the same request without picture and judge."""
        bare = object.__new__(Request)
        bare.__dict__.update(self.__dict__, picture=None, judge=None)
        return bare

    def describe(self) -> str:
        """Describe the request in one line."""
        parts = [self.template if self.template.startswith(f"{self.task}/") else f"{self.task} ({self.template})"]
        if self.picture_sha256 is not None:
            parts.append(f"picture {self.picture_sha256[:12]}…" + (f" ({excerpt(self.label)})" if self.label else ""))
        return ", ".join([*parts, excerpt(self.prompt)])

    def __repr__(self) -> str:
        """Describe it without picture bytes: a repr ends up in logs."""
        return f"Request({self.key[:12]}…, {self.describe()})"

    def __eq__(self, other: object) -> bool:
        """Compare by key."""
        return self.key == other.key if isinstance(other, Request) else NotImplemented

    def __hash__(self) -> int:
        """Hash by key."""
        return hash(self.key)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class _Template(_Part):
    ref: str
    sha256: _Sha256


class _Decoding(_Part):
    max_new_tokens: int
    temperature: float


class _Payload(_Part):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    task: str
    template: _Template
    prompt: str
    picture: _Sha256 | None
    model: dict[str, JsonValue]
    decoding: _Decoding


@dataclass(frozen=True, slots=True)
class RecordedIdentity:
    """The model that was asked, as stored with its answers, so that a replay needs no model."""

    backend: str
    """The backend's name."""
    model: str
    """The model as the settings name it, without a path; see `declared_model`."""
    identity: Mapping[str, JSON]
    """Its backend's `identity`."""
    pictures: bool = True
    """It accepted pictures."""
    text_only: bool = True
    """It accepted requests without a picture."""

    def parts(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "backend": self.backend,
            "model": self.model,
            "identity": dict(self.identity),
            "pictures": self.pictures,
            "text_only": self.text_only,
        }

    @classmethod
    def from_parts(cls, parts: object) -> "RecordedIdentity":
        """Read what `parts` returned.

        Raises:
            ValueError: malformed.
        """
        try:
            found = _Identity.model_validate(parts)
        except ValidationError as error:
            raise ValueError(f"identity.{first_fault(error)}") from error
        return cls(found.backend, found.model, found.identity, found.pictures, found.text_only)

    def describe(self) -> str:
        """Describe it in one line."""
        return f"{self.backend} {self.model or '(default model)'} {canonical(dict(self.identity))[:120]}"


class _Identity(_Part):
    backend: str
    model: str
    identity: dict[str, JsonValue]
    pictures: bool
    text_only: bool


Phase: TypeAlias = Literal["waiting", "asking", "storing", "pausing", "sharing"]
"""``waiting`` for a permit, ``asking`` the backend, ``storing`` the answer, ``pausing`` before a retry, or ``sharing``:
another process is asking the same."""
Source: TypeAlias = Literal["store", "backend"]


class RequestProgress:
    """Progress of one request through the layers; its creator is told of every change."""

    def __init__(self, on_change: Callable[["RequestProgress"], None] | None = None) -> None:
        """Call ``on_change`` after every change."""
        self.phase: Phase = "waiting"
        self.source: Source = "backend"
        """Where the outcome came from."""
        self.attempts = 0
        """Attempts so far; one that sent nothing is not counted."""
        self.end = math.inf
        """The deadline by the monotonic clock; set by the first attempt."""
        self.usage: tuple[int | None, int | None] = (None, None)
        """Prompt and completion tokens of the last attempt, also of an unusable answer."""
        self.answered = False
        """The last attempt brought a usable answer."""
        self.unsent = False
        """The last attempt sent nothing: no connection, or the picture is gone."""
        self.crowded = False
        """The last attempt was refused because of concurrency: its ``Retry-After`` does not concern this request."""
        self.series: list[int] = []
        """The series of failures (see `Outage`) of its attempts, one entry each."""
        self.failed_at = math.inf
        """Start of the first attempt that was sent and found the server down, by the monotonic clock."""
        self.kept = False
        """Its failure is on disk."""
        self.abandoned = False
        """Nobody waits for it: the attempt in flight may finish, and there is no retry."""
        self._on_change = on_change

    def update(self, *, phase: Phase | None = None, source: Source | None = None, attempts: int | None = None) -> None:
        """Set what is given."""
        self.phase = phase or self.phase
        self.source = source or self.source
        self.attempts = self.attempts if attempts is None else attempts
        if self._on_change is not None:
            self._on_change(self)

    def follow(self, other: "RequestProgress") -> None:
        """Copy another request's progress."""
        self.answered = other.answered
        self.update(phase=other.phase, source=other.source, attempts=other.attempts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. Exactly one of ``answer`` and ``error`` is set."""

    request: Request
    answer: Answer | None
    error: Exception | None
    source: Source
    """Where the outcome came from."""
    attempts: int
    """Attempts; 0 from the store."""
    seconds: float
    """From submission to outcome."""


class Responder(Protocol):
    """A layer: answers requests itself or with an inner layer."""

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer one request, and report to ``progress``.

        Raises:
            ANTSError: there is no answer; the class says why.
        """
        ...
