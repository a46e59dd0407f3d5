"""A backend that answers from a table or a function, for tests and dry runs."""

import asyncio
import hashlib
import inspect
import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from ants_engine import errors
from ants_engine.common.text_file import expand_home, read_text
from ants_engine.errors import BackendError, BadRequestError, RateLimitError, SettingError, UsageError
from ants_engine.protocol import JSON, Answer, Call, Capabilities

AnswerFunction: TypeAlias = Callable[[Call], str | Answer | Awaitable[str | Answer]]
"""What `ScriptedBackend.from_callable` takes; it may raise any `BackendError`."""

_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REGEX = "re:"


class Reply(BaseModel):
    """One scripted reply: a text, or a failure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str | None = None
    """The MLLM's answer."""
    finish_reason: Literal["stop", "length"] = "stop"
    """``length`` simulates an answer truncated by the token limit."""
    error: str | None = None
    """The name of a `BackendError` leaf to raise instead, such as ``RateLimitError``."""
    message: str = "scripted failure"
    """The error's message."""
    retry_after: NonNegativeFloat | None = None
    """The ``retry_after`` of a ``RateLimitError``, in seconds."""
    delay: NonNegativeFloat | None = None
    """Seconds before this reply; the backend's ``delay`` when empty."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Reply":
        if (self.text is None) == (self.error is None):
            raise ValueError("a reply has either `text` or `error`")
        if self.error is not None and self.error not in _failures():
            raise ValueError(f"`error` is one of {', '.join(sorted(_failures()))}; not {self.error!r}")
        return self

    def failure(self) -> BackendError:
        """Build the error."""
        kind = _failures()[str(self.error)]
        if issubclass(kind, RateLimitError):
            return kind(self.message, retry_after=self.retry_after)
        return kind(self.message)


def _reply(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


def _replies(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


OneReply: TypeAlias = Annotated[Reply, BeforeValidator(_reply)]
Replies: TypeAlias = Annotated[tuple[OneReply, ...], Field(min_length=1), BeforeValidator(_replies)]


class _Table(BaseModel):
    """The content of an answers file."""

    model_config = ConfigDict(extra="forbid")

    answers: dict[str, Replies]
    default: OneReply | None = None


class ScriptedOptions(BaseModel):
    """Settings of the scripted backend."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = "scripted"
    """The name in the identity."""
    answers: dict[str, Replies] | Path = Field(default_factory=dict)
    """The table, or a ``.json`` or ``.toml`` file with ``answers`` and optionally ``default``."""
    default: OneReply | None = None
    """The reply when nothing matches; without one the call fails with ``BadRequestError``."""
    delay: NonNegativeFloat = 0.0
    """Seconds before each reply."""
    pictures: bool = True
    """Whether it accepts pictures."""
    text_only: bool = True
    """Whether it accepts questions without a picture."""
    max_concurrency: PositiveInt = 8
    """Calls at once that it announces."""


class ScriptedBackend:
    """Answers from a table, without a model.

    A key of ``answers`` is one of

    - a picture's sha256 (64 hex digits): any question about that picture;
    - ``re:`` and a regular expression that is searched for in the prompt;
    - anything else: a part of the prompt, as it stands.

    Pictures are matched first, then the longest matching part of a prompt, then the expressions in order, then
    ``default``. A list of replies is given one per call; its last one is repeated. ``calls`` holds all calls.

    ::

        backend = ScriptedBackend(ScriptedOptions(answers={
            "look like a wolf": "dog, fox, coyote, jackal, husky",
            "Describe": [{"error": "RateLimitError", "retry_after": 0.1}, "a grey rock"],
        }))
    """

    Options: ClassVar[type[BaseModel]] = ScriptedOptions

    def __init__(self, options: ScriptedOptions | None = None) -> None:
        """Read the table.

        Raises:
            SettingError: the answers file is missing or malformed, or an expression is invalid.
        """
        options = ScriptedOptions() if options is None else options
        self.calls: list[Call] = []
        self.peak_in_flight = 0
        self._in_flight = 0
        self._closed = False
        self._options = options
        self._function: AnswerFunction | None = None
        self._given: dict[str, int] = {}
        if isinstance(options.answers, Path):
            table = _read(options.answers)
            self._answers, self._default = table.answers, options.default or table.default
        else:
            self._answers, self._default = options.answers, options.default
        self._expressions = {key: _compile(key) for key in self._answers if key.startswith(_REGEX)}

    @classmethod
    def from_callable(cls, function: AnswerFunction, options: ScriptedOptions | None = None) -> "ScriptedBackend":
        """Answer with a function of the call, plain or async, that returns a text or an `Answer`."""
        backend = cls(options)
        backend._function = function
        return backend

    @property
    def capabilities(self) -> Capabilities:
        """As the options say."""
        options = self._options
        return Capabilities(
            pictures=options.pictures, text_only=options.text_only, max_concurrency=options.max_concurrency
        )

    async def identity(self) -> Mapping[str, JSON]:
        """Identify the table by its content, or the function by the ``model`` option."""
        identity: dict[str, JSON] = {"backend": "scripted", "model": self._options.model}
        if self._function is None:
            table = {key: [reply.model_dump() for reply in replies] for key, replies in self._answers.items()}
            default = None if self._default is None else self._default.model_dump()
            content = json.dumps({"answers": table, "default": default}, sort_keys=True)
            identity["sha256"] = hashlib.sha256(content.encode()).hexdigest()
        return identity

    async def load(self) -> None:
        """Do nothing: the table is read in the constructor."""

    async def generate(self, call: Call) -> Answer:
        """Give the scripted reply.

        Raises:
            BackendError: the scripted one; ``BadRequestError`` when nothing matches, or the call is of a kind that the
                capabilities exclude.
            UsageError: the backend is closed.
        """
        if self._closed:
            raise UsageError("the scripted backend is closed")
        self.calls.append(call)
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        try:
            return await self._answer(call)
        finally:
            self._in_flight -= 1

    async def aclose(self) -> None:
        """Refuse further calls; ``calls`` stays."""
        self._closed = True

    async def _answer(self, call: Call) -> Answer:
        if call.picture is None and not self._options.text_only:
            raise BadRequestError("this scripted backend takes no question without a picture")
        if call.picture is not None and not self._options.pictures:
            raise BadRequestError("this scripted backend takes no pictures")
        if self._function is not None:
            await asyncio.sleep(self._options.delay)
            said = self._function(call)
            said = await said if inspect.isawaitable(said) else said
            return said if isinstance(said, Answer) else Answer(text=said)
        reply = self._next_reply(call)
        await asyncio.sleep(self._options.delay if reply.delay is None else reply.delay)
        if reply.text is None:
            raise reply.failure()
        return Answer(text=reply.text, finish_reason=reply.finish_reason)

    def _next_reply(self, call: Call) -> Reply:
        key = self._match(call)
        if key is None:
            if self._default is None:
                shown = "no picture" if call.picture is None else f"picture {call.picture.sha256}"
                raise BadRequestError(f"no scripted answer for the prompt {call.prompt[:200]!r} ({shown})")
            return self._default
        replies = self._answers[key]
        turn = self._given.get(key, 0)
        self._given[key] = turn + 1
        return replies[min(turn, len(replies) - 1)]

    def _match(self, call: Call) -> str | None:
        if call.picture is not None and call.picture.sha256 in self._answers:
            return call.picture.sha256
        parts = [key for key in self._answers if not _is_special(key) and key in call.prompt]
        if parts:
            return max(parts, key=len)
        return next((key for key, regex in self._expressions.items() if regex.search(call.prompt)), None)


@dataclass(frozen=True, slots=True)
class Shows:
    """What a picture shows, for `verify_or_describe`."""

    name: str | None
    """Its ID class, as questions name it; ``None`` for an OOD picture."""
    sentence: str
    """What is said of it where it is not confirmed."""


def verify_or_describe(
    shows: Callable[[Call], Shows],
    *,
    yes: float = 1.0,
    false_yes: float = 0.0,
    seed: int = 0,
    without_picture: AnswerFunction | None = None,
) -> AnswerFunction:
    """Return a function for `ScriptedBackend.from_callable` that answers ``ens/v3``, with a judge's errors.

    An ID picture gets "yes", or its class's name where the question names another class; an OOD picture its sentence.
    Which answers are wrong depends on the seed and the picture alone.

    Args:
        shows: what the picture of a call shows.
        yes: share of ID pictures that are confirmed (a, in 0 to 1); the others get their sentence.
        false_yes: share of OOD pictures that get a "yes" (b, in 0 to 1).
        seed: of the errors.
        without_picture: answers what is asked without a picture; such a call is a ``BadRequestError`` when empty.
    """

    def answer(call: Call) -> str | Answer | Awaitable[str | Answer]:
        if call.picture is None:
            if without_picture is None:
                raise BadRequestError(f"no scripted answer for the prompt {call.prompt[:200]!r} (no picture)")
            return without_picture(call)
        shown = shows(call)
        drawn = hashlib.sha256(f"{seed} {call.picture.sha256}".encode()).digest()
        chance = int.from_bytes(drawn[:8], "big") / 2**64
        if chance >= (false_yes if shown.name is None else yes):
            return shown.sentence
        asked = shown.name is None or shown.name in map(json.loads, _QUOTED.findall(call.prompt))
        return "yes" if asked else f"No, {shown.name}."

    return answer


def _is_special(key: str) -> bool:
    return key.startswith(_REGEX) or _SHA256.fullmatch(key) is not None


def _compile(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key.removeprefix(_REGEX))
    except re.error as error:
        raise SettingError(f"mllm.answers: {key!r} is not a regular expression: {error}") from error


def _read(path: Path) -> _Table:
    path = Path(expand_home(path))
    if path.exists() and not path.is_file():
        # reading a pipe would block
        raise SettingError(f"mllm.answers: {path} cannot be read: it is not a file")
    try:
        text = read_text(path)
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return _Table.model_validate(content)
    except OSError as error:
        raise SettingError(f"mllm.answers: {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"mllm.answers: {path}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise SettingError(f"mllm.answers: {path} is neither TOML nor JSON: {error}") from error


def _failures() -> dict[str, type[BackendError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BackendError)]
    # a class of a whole branch names no cause
    branches = {BackendError, *(kind for kind in kinds if BackendError in kind.__bases__)}
    return {kind.__name__: kind for kind in kinds if kind not in branches}
