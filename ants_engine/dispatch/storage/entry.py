"""What is kept per request, and its line: the one form of the journal and of cassettes."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ants_engine import errors
from ants_engine.common.canonical_json import readable
from ants_engine.dispatch.request import RecordedIdentity, Request
from ants_engine.errors import BackendError
from ants_engine.protocol import Answer

MAX_ANSWER_CHARACTERS = 20_000
"""A longer answer is cut to this before it is kept."""
MAX_MESSAGE_CHARACTERS = 500
MAX_LINE_BYTES = 4_194_304
"""A longer line was not written here."""

_KEY = re.compile(rb'\{"key":"([0-9a-f]{64})",')
_MODEL = b'{"model":'
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}')
_CHECKSUM_BYTES = 79


class DamagedLineError(ValueError):
    """The line is not as it was written."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a request failed. Kept so that replay ends as the run did; ``record`` asks such a request again."""

    kind: str
    """A leaf of `BackendError`, by name."""
    message: str
    """What it said, cut to a bound."""

    @classmethod
    def of(cls, error: BackendError) -> "Failure":
        """Keep an error's kind and message, by the nearest class that is the engine's own."""
        own = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
        return cls(own.__name__, str(error)[:MAX_MESSAGE_CHARACTERS])

    def error(self) -> BackendError:
        """Make the error again."""
        kind: type[BackendError] = getattr(errors, self.kind)
        return kind(self.message)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request with its ending."""

    request: Request
    """Without the picture."""
    ending: Answer | Failure
    """An answer, or the failure of a request that has none so far."""
    stored_at: float | None = None
    """Seconds since 1970; None in a cassette, so that equal stores make equal cassettes."""

    def parts(self) -> dict[str, Any]:
        """Spell it as JSON: ``request`` and ``answer``, or ``request`` and ``failure``."""
        return {"request": self.request.payload(), **self._ending()}

    def _ending(self) -> dict[str, Any]:
        if isinstance(self.ending, Failure):
            return {"failure": {"kind": self.ending.kind, "message": self.ending.message}}
        answer = {
            "text": self.ending.text,
            "finish_reason": self.ending.finish_reason,
            "prompt_tokens": self.ending.prompt_tokens,
            "completion_tokens": self.ending.completion_tokens,
        }
        return {"answer": answer}

    @classmethod
    def from_parts(cls, parts: Mapping[str, object], stored_at: float | None = None) -> "Entry":
        """Read what `parts` returned.

        Raises:
            ValueError: it is not of that form.
        """
        if parts.keys() == {"request", "answer"}:
            form: type[_Answer | _Failure] = _Answer
        elif parts.keys() == {"request", "failure"}:
            form = _Failure
        else:
            raise ValueError("not a request with an answer or a failure")
        try:
            found = form.model_validate(parts["answer" if form is _Answer else "failure"])
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        ending: Answer | Failure
        if isinstance(found, _Answer):
            ending = Answer(found.text, found.finish_reason, found.prompt_tokens, found.completion_tokens)
        else:
            kind = getattr(errors, found.kind, None)
            if not (isinstance(kind, type) and issubclass(kind, BackendError)):
                raise ValueError("failure.kind: not an error of a backend")  # noqa: TRY004  # the value is wrong
            ending = Failure(found.kind, found.message)
        return cls(Request.from_payload(parts["request"]), ending, stored_at)

    def to_line(self) -> bytes:
        """Spell it as one line of readable JSON that ends with a checksum over everything before it."""
        moment = "" if self.stored_at is None else f',"stored_at":{self.stored_at:.3f}'
        # canonical JSON without an escape is readable as it is
        text = self.request.text
        request = readable(self.request.payload()) if "\\u" in text else text
        ending = readable(self._ending())[1:-1]
        return _sealed(f'{{"key":"{self.request.key}"{moment},"request":{request},{ending}')

    @classmethod
    def from_line(cls, line: bytes) -> "Entry":
        """Read and verify what `to_line` returned.

        Raises:
            DamagedLineError: not an entry, or changed since it was written.
        """
        parts = unseal(line)
        key, stored_at = parts.pop("key", None), parts.pop("stored_at", None)
        if not isinstance(stored_at, float | int | None) or isinstance(stored_at, bool):
            raise DamagedLineError("stored_at is no number")
        try:
            entry = cls.from_parts(parts, stored_at)
        except ValueError as error:
            raise DamagedLineError(str(error)) from error
        if entry.request.key != key:
            raise DamagedLineError("the key does not belong to the request; one of them was altered")
        return entry


def model_line(recorded: RecordedIdentity) -> bytes:
    """Spell which model was asked, as a line of the journal."""
    return _sealed(readable({"model": recorded.parts()})[:-1])


def read_model_line(line: bytes) -> RecordedIdentity:
    """Read and verify what `model_line` returned.

    Raises:
        DamagedLineError: it is not what was written.
    """
    try:
        return RecordedIdentity.from_parts(unseal(line).get("model"))
    except ValueError as error:
        raise DamagedLineError(str(error)) from error


def key_of(line: bytes) -> str | None:
    """Return the key that a line begins with, without verifying anything else."""
    found = _KEY.match(line)
    return None if found is None else found[1].decode("ascii")


def is_model_line(line: bytes) -> bool:
    """Tell whether a line says which model was asked, without verifying it."""
    return line.startswith(_MODEL)


def _sealed(content: str) -> bytes:
    """End a line that lacks its last brace with the sha256 of what is there."""
    body = content.encode("utf-8")
    return b'%s,"checksum":"%s"}\n' % (body, hashlib.sha256(body).hexdigest().encode("ascii"))


def is_sealed(line: bytes) -> bool:
    """Tell whether a line, with its end, carries the checksum of what it says."""
    found = _CHECKSUM.fullmatch(line[-_CHECKSUM_BYTES - 1 : -1])
    body = line[: -_CHECKSUM_BYTES - 1]
    return found is not None and hashlib.sha256(body).hexdigest().encode("ascii") == found[1]


def unseal(line: bytes) -> dict[str, Any]:
    """Verify a line's checksum, and give back the parts.

    Raises:
        DamagedLineError: it is not what was written.
    """
    if len(line) > MAX_LINE_BYTES:
        raise DamagedLineError("too long")
    if not is_sealed(line):
        raise DamagedLineError("its checksum does not fit")
    return {name: value for name, value in parse(line).items() if name != "checksum"}


def parse(line: bytes) -> dict[str, Any]:
    """Read a line as a JSON object.

    Raises:
        DamagedLineError: it is none.
    """
    try:
        found = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedLineError("not JSON in UTF-8") from error
    if not isinstance(found, dict):
        raise DamagedLineError("not a JSON object")
    return found


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Answer(_Form):
    text: Annotated[str, Field(max_length=MAX_ANSWER_CHARACTERS)]
    finish_reason: Literal["stop", "length"]
    prompt_tokens: Annotated[int, Field(ge=0)] | None
    completion_tokens: Annotated[int, Field(ge=0)] | None


class _Failure(_Form):
    kind: str
    message: Annotated[str, Field(max_length=MAX_MESSAGE_CHARACTERS)]
