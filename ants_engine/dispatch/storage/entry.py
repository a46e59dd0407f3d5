"""One request with its ending, and its line: the one format of the journal and of cassettes."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ants_engine import errors
from ants_engine.common.canonical_json import first_fault, readable
from ants_engine.dispatch.request import RecordedIdentity, Request
from ants_engine.errors import BackendError
from ants_engine.protocol import Answer

MAX_ANSWER_CHARACTERS = 20_000
"""Longer answers are cut to this before they are stored."""
MAX_MESSAGE_CHARACTERS = 500
MAX_LINE_BYTES = 4_194_304
"""The store never writes a longer line."""

_KEY = re.compile(rb'\{"key":"([0-9a-f]{64})",')
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\n')
_CHECKSUM_BYTES = 80


class DamagedLineError(ValueError):
    """The line is not as it was written."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a request failed. Stored so that a replay ends as the run did; mode ``record`` asks such a request again."""

    kind: str
    """The name of a leaf of `BackendError`."""
    message: str
    """At most `MAX_MESSAGE_CHARACTERS`."""

    @classmethod
    def of(cls, error: BackendError) -> "Failure":
        """Take kind and message of an error; the kind is its nearest class in `ants_engine.errors`."""
        own = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
        return cls(own.__name__, str(error)[:MAX_MESSAGE_CHARACTERS])

    def error(self) -> BackendError:
        """Rebuild the error."""
        kind: type[BackendError] = getattr(errors, self.kind)
        return kind(self.message)


@dataclass(frozen=True, slots=True)
class Entry:
    """One request with its ending."""

    request: Request
    """Without the picture."""
    ending: Answer | Failure
    """The answer, or the failure of a request that has no answer so far."""
    stored_at: float | None = None
    """Seconds since 1970; None in a cassette, so that equal stores make equal cassettes."""

    def parts(self) -> dict[str, Any]:
        """Return JSON: ``request`` and ``answer``, or ``request`` and ``failure``."""
        return {"request": self.request.payload(), **json.loads(f"{{{self._ending()}}}")}

    def _ending(self) -> str:
        ending = self.ending
        if isinstance(ending, Failure):
            return f'"failure":{{"kind":{readable(ending.kind)},"message":{readable(ending.message)}}}'
        prompt, completion = ("null" if n is None else n for n in (ending.prompt_tokens, ending.completion_tokens))
        return (
            f'"answer":{{"text":{readable(ending.text)},"finish_reason":"{ending.finish_reason}",'
            f'"prompt_tokens":{prompt},"completion_tokens":{completion}}}'
        )

    @classmethod
    def from_parts(cls, parts: Mapping[str, object], stored_at: float | None = None) -> "Entry":
        """Read what `parts` returned.

        Raises:
            ValueError: malformed.
        """
        ending: Answer | Failure
        try:
            if parts.keys() == {"request", "answer"}:
                answer = _Answer.model_validate(parts["answer"])
                ending = Answer(answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens)
            elif parts.keys() == {"request", "failure"}:
                failure = _Failure.model_validate(parts["failure"])
                ending = Failure(failure.kind, failure.message)
                kind = getattr(errors, failure.kind, None)
                if not (isinstance(kind, type) and issubclass(kind, BackendError)):
                    raise ValueError("failure.kind: not an error of a backend")
            else:
                raise ValueError("not a request with an answer or a failure")
        except ValidationError as error:
            raise ValueError(first_fault(error)) from error
        return cls(Request.from_payload(parts["request"]), ending, stored_at)

    def to_line(self) -> bytes:
        """Return one line of readable JSON that ends with a checksum over everything before it."""
        moment = "" if self.stored_at is None else f',"stored_at":{self.stored_at:.3f}'
        # canonical JSON without an escape is already readable
        text = self.request.text
        request = readable(self.request.payload()) if "\\u" in text else text
        return _sealed(f'{{"key":"{self.request.key}"{moment},"request":{request},{self._ending()}')

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
    """Return the journal's line for a model that was asked."""
    return _sealed(readable({"model": recorded.parts()})[:-1])


def read_model_line(line: bytes) -> RecordedIdentity:
    """Read and verify what `model_line` returned.

    Raises:
        DamagedLineError: not as it was written.
    """
    try:
        return RecordedIdentity.from_parts(unseal(line).get("model"))
    except ValueError as error:
        raise DamagedLineError(str(error)) from error


def key_of(line: bytes) -> str | None:
    """Return the key that a line begins with; nothing else is verified."""
    found = _KEY.match(line)
    return None if found is None else found[1].decode("ascii")


def is_model_line(line: bytes) -> bool:
    """Tell whether a line names a model; nothing else is verified."""
    return line.startswith(b'{"model":')


def _sealed(content: str) -> bytes:
    """Complete a line that lacks its last brace with the sha256 of what is there."""
    body = content.encode("utf-8")
    return b'%s,"checksum":"%s"}\n' % (body, hashlib.sha256(body).hexdigest().encode("ascii"))


def is_sealed(line: bytes) -> bool:
    """Tell whether a line, newline included, ends with the checksum of its content."""
    found = _CHECKSUM.fullmatch(line[-_CHECKSUM_BYTES:])
    return found is not None and hashlib.sha256(line[:-_CHECKSUM_BYTES]).hexdigest().encode("ascii") == found[1]


def unseal(line: bytes) -> dict[str, Any]:
    """Verify a line's checksum and return its other fields.

    Raises:
        DamagedLineError: not as it was written.
    """
    if len(line) > MAX_LINE_BYTES:
        raise DamagedLineError("too long")
    if not is_sealed(line):
        raise DamagedLineError("its checksum does not fit")
    parts = parse(line)
    parts.pop("checksum", None)
    return parts


def parse(line: bytes) -> dict[str, Any]:
    """Read a line as a JSON object.

    Raises:
        DamagedLineError: it is not one.
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
