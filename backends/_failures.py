"""Which of our errors each failure of the openai client is: one table."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ants_engine.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadRequestError,
    ProtocolError,
    QuotaError,
    RateLimitError,
    RefusedAnswerError,
)

from ._retry_after import retry_after
from ._scrub import scrub


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a failure that fits every column that is filled in is ``becomes``."""

    becomes: type[BackendError]
    says: str
    """What happened and what to do, for people; what the server said follows."""
    exception: str | None = None
    """An exception's name, or that of one of its bases: the client is not imported to look something up."""
    code: Collection[str] = ()
    """The error's ``code`` or ``type`` in the body."""
    status: Collection[int] = ()

    def fits(self, failure: "Failure") -> bool:
        """Say whether this row is about that failure."""
        return (
            (self.exception is None or self.exception in failure.names)
            and (not self.code or bool(failure.codes.intersection(self.code)))
            and (not self.status or failure.status in self.status)
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """What a row is compared with."""

    names: frozenset[str]
    codes: frozenset[str]
    status: int | None


TABLE: tuple[Row, ...] = (
    Row(BackendTimeoutError, "no answer in time", exception="APITimeoutError"),
    Row(BackendUnavailableError, "the server cannot be reached, or hung up", exception="APIConnectionError"),
    Row(ProtocolError, "the answer is not what the chat API agrees on", exception="APIResponseValidationError"),
    Row(
        QuotaError,
        "the account's quota is spent",
        code={"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"},
    ),
    Row(QuotaError, "the account has to be paid for", status={402}),
    Row(
        RefusedAnswerError,
        "the server's content filter declined the question",
        code={"content_filter", "content_policy_violation"},
    ),
    Row(RateLimitError, "asked too fast", status={429}),
    Row(AuthenticationError, "the key was refused; `mllm.api_key_env` names its variable", status={401}),
    Row(AuthenticationError, "the key may not do this", status={403}),
    Row(BadRequestError, "no such model or address; look at `mllm.model` and `mllm.base_url`", status={404}),
    Row(BadRequestError, "too large; lower `mllm.image_max_side`", status={413}),
    Row(BackendUnavailableError, "the server asks to try again", status={408, 409, 425}),
    Row(BackendUnavailableError, "the server failed", status=range(500, 600)),
    Row(BadRequestError, "the server takes no such request", status=range(400, 500)),
    Row(BadRequestError, "the server redirects; write the final address as `mllm.base_url`", status=range(300, 400)),
    Row(ProtocolError, "the answer cannot be read", exception="JSONDecodeError"),
    Row(ProtocolError, "the answer cannot be read", exception="UnicodeError"),
    Row(BadRequestError, "the request cannot be made", exception="Exception"),
)
"""Looked through from the top; the first row that fits counts."""


def classify(error: Exception, *, secret: str = "", server: str = "") -> BackendError:
    """Build the error that stands for a failure of the openai client.

    It holds nothing of the original but scrubbed words; raise it outside of the ``except`` block, so that the
    original, whose request carries key and picture, does not hang on to it.

    Args:
        error: what the client raised.
        secret: the key, to be kept out of the message.
        server: names the server in the message.
    """
    response = getattr(error, "response", None)
    body = getattr(error, "body", None)
    status = getattr(error, "status_code", None)
    failure = Failure(
        names=frozenset(base.__name__ for base in type(error).__mro__),
        codes=frozenset(str(_field(body, name)) for name in ("code", "type") if _field(body, name)),
        status=status if isinstance(status, int) else None,
    )
    row = next(row for row in TABLE if row.fits(failure))
    shown = "" if status is None else f" (HTTP {status})"
    said = scrub(_said(error, body), secret)
    message = f"{server or 'the server'}: {row.says}{shown}" + (f": {said}" if said else "")
    if issubclass(row.becomes, RateLimitError):
        return row.becomes(message, retry_after=retry_after(getattr(response, "headers", {})))
    return row.becomes(message)


def _said(error: Exception, body: object) -> str:
    for text in (body, _field(body, "message"), _field(body, "detail"), _field(body, "error")):
        if isinstance(text, str) and text.strip():
            # A proxy's error page says nothing that its status has not said.
            return "" if text.lstrip().startswith("<") else text
    if isinstance(body, Mapping) and body:
        return str(dict(body))
    if getattr(error, "response", None) is not None:
        return ""
    cause = error.__cause__ or error
    return f"{type(cause).__name__} {cause}".strip()


def _field(body: object, name: str) -> object:
    return body.get(name) if isinstance(body, Mapping) else None
