"""What the store keeps per request: the request, how it ended, and a checksum over both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ants_engine import errors
from ants_engine.dispatch.canonical import canonical, digest
from ants_engine.dispatch.request import Request
from ants_engine.errors import BackendError
from ants_engine.protocol import Answer

ENTRY_SCHEMA = 1
"""Version of an entry's form in the store."""
MAX_ANSWER_CHARACTERS = 20_000
"""A longer answer is cut to this before it is kept."""
MAX_MESSAGE_CHARACTERS = 500
MAX_ENTRY_BYTES = 4_194_304
"""An entry larger than this was not written here."""


class DamagedEntryError(ValueError):
    """The bytes are not an entry as it was written."""


class NewerEntryError(ValueError):
    """The entry is sound, and of a later form than this version reads."""


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

    def parts(self) -> dict[str, Any]:
        """Spell it as JSON: ``request`` and ``answer``, or ``request`` and ``failure``."""
        return {"request": self.request.payload(), **self._ending_parts()}

    @classmethod
    def from_parts(cls, parts: Mapping[str, object]) -> "Entry":
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
        return cls(Request.from_payload(parts["request"]), ending)

    def to_bytes(self) -> bytes:
        """Spell it for the store: canonical JSON with a checksum."""
        # What `seal` would give, member by member: the request is spelled already.
        ending = canonical(self._ending_parts())[1:-1]
        rest = f'"request":{self.request.text},"schema":{ENTRY_SCHEMA}'
        checksum = digest(f"{{{ending},{rest}}}")
        members = [ending, f'"checksum":"{checksum}"', rest]
        if isinstance(self.ending, Failure):
            members[:2] = reversed(members[:2])
        return f"{{{','.join(members)}}}".encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> "Entry":
        """Read and verify what `to_bytes` returned.

        Raises:
            DamagedEntryError: not an entry, changed since it was written, or not the one that belongs to ``key``.
            NewerEntryError: of a later form.
        """
        entry = _quickly(data)
        # To spell it again to the same bytes proves all at once: spelling, form, checksum.
        if entry is not None and entry.request.key == key and entry.to_bytes() == data:
            return entry
        parts = unseal(data)
        try:
            entry = cls.from_parts(parts)
        except ValueError as error:
            raise DamagedEntryError(str(error)) from error
        if entry.request.key != key:
            raise DamagedEntryError("its request has another key")
        return entry

    def _ending_parts(self) -> dict[str, Any]:
        if isinstance(self.ending, Failure):
            return {"failure": {"kind": self.ending.kind, "message": self.ending.message}}
        answer = {
            "text": self.ending.text,
            "finish_reason": self.ending.finish_reason,
            "prompt_tokens": self.ending.prompt_tokens,
            "completion_tokens": self.ending.completion_tokens,
        }
        return {"answer": answer}


def _quickly(data: bytes) -> Entry | None:
    """Read an entry without verifying it, if it looks like one of this form."""
    if len(data) > MAX_ENTRY_BYTES:
        return None
    try:
        parts = json.loads(data)
        del parts["checksum"], parts["schema"]
        return Entry.from_parts(parts)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def seal(parts: Mapping[str, object]) -> bytes:
    """Spell JSON canonically, with the form's version and a checksum over all of it."""
    content = {**parts, "schema": ENTRY_SCHEMA}
    return canonical({**content, "checksum": digest(canonical(content))}).encode("ascii")


def unseal(data: bytes) -> dict[str, Any]:
    """Verify what `seal` returned, and give back the parts.

    Raises:
        DamagedEntryError: it is not what was sealed.
        NewerEntryError: of a later form.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise DamagedEntryError("too large")
    try:
        content = json.loads(data.decode("ascii"))
        if not isinstance(content, dict) or canonical(content).encode("ascii") != data:
            raise DamagedEntryError("not canonical JSON")
    except (ValueError, RecursionError) as error:
        if isinstance(error, DamagedEntryError):
            raise
        raise DamagedEntryError("not JSON") from error
    checksum = content.pop("checksum", None)
    if checksum != digest(canonical(content)):
        raise DamagedEntryError("its checksum does not fit")
    schema = content.pop("schema", None)
    if isinstance(schema, int) and schema > ENTRY_SCHEMA:
        raise NewerEntryError(f"form {schema}; this version of ants_engine reads up to {ENTRY_SCHEMA}")
    if schema != ENTRY_SCHEMA:
        raise DamagedEntryError("of no known form")
    return content


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
