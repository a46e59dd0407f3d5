"""Which of our errors each failure of the openai client is: one table."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ants_engine.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BadRequestError,
    OverloadedError,
    ProtocolError,
    QuotaError,
    RateLimitError,
    RefusedAnswerError,
    TransientBackendError,
)

from ._retry_after import retry_after
from ._scrub import scrub

Kind: TypeAlias = Literal["transient", "rate limit", "final", "unusable"]
"""May pass; asked too fast; will not pass; an answer that is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a failure that fits every column that is filled in is ``becomes``."""

    kind: Kind
    becomes: type[BackendError]
    says: str
    """What happened and what to do, for people; what the server said follows."""
    exception: str | None = None
    """An exception's name, or that of one of its bases: the client is not imported to look something up."""
    code: Collection[str] = ()
    """The error's ``code`` or ``type`` in the body, or what TLS or HTTP call the cause."""
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

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Look at an error of the client."""
        body = getattr(error, "body", None)
        status = getattr(error, "status_code", None)
        codes = [_field(body, name) for name in ("code", "type")]
        if status is None:
            codes += [
                getattr(cause, name, None) for cause in _causes(error) for name in ("reason", "error_status_hint")
            ]
        return cls(
            names=frozenset(base.__name__ for base in type(error).__mro__),
            codes=frozenset(str(code) for code in codes if code),
            status=status if isinstance(status, int) else None,
        )


TABLE: tuple[Row, ...] = (
    Row("transient", BackendTimeoutError, "no answer in time", exception="APITimeoutError"),
    Row(
        "final",
        BadRequestError,
        "its certificate cannot be trusted; add its authority to the system's store, or name the authority's file in "
        "the environment variable SSL_CERT_FILE",
        exception="APIConnectionError",
        code={"CERTIFICATE_VERIFY_FAILED"},
    ),
    Row(
        "final",
        BadRequestError,
        "it does not speak TLS there; look at `mllm.base_url`: http:// or https://?",
        exception="APIConnectionError",
        code={"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"},
    ),
    Row("final", ProtocolError, "its headers do not end", exception="APIConnectionError", code={"431"}),
    Row(
        "transient", BackendUnavailableError, "the server cannot be reached, or hung up", exception="APIConnectionError"
    ),
    Row(
        "final", ProtocolError, "the answer is not what the chat API agrees on", exception="APIResponseValidationError"
    ),
    Row(
        "final",
        QuotaError,
        "the account's quota is spent",
        code={"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"},
    ),
    Row("final", QuotaError, "the account has to be paid for", status={402}),
    Row(
        "unusable",
        RefusedAnswerError,
        "the server's content filter declined the question",
        code={"content_filter", "content_policy_violation"},
    ),
    Row("rate limit", RateLimitError, "asked too fast", status={429}),
    Row("final", AuthenticationError, "the key was refused; `mllm.api_key_env` names its variable", status={401}),
    Row("final", AuthenticationError, "the key may not do this", status={403}),
    Row("final", BadRequestError, "no such model or address; look at `mllm.model` and `mllm.base_url`", status={404}),
    Row("final", BadRequestError, "too large; lower `mllm.image_max_side`", status={413}),
    Row("transient", BackendUnavailableError, "the server asks to try again", status={408, 409, 425}),
    Row("transient", OverloadedError, "the server has too much to do", status={503, 529}),
    Row("transient", BackendUnavailableError, "the server failed", status=range(500, 600)),
    Row("final", BadRequestError, "the server takes no such request", status=range(400, 500)),
    Row(
        "final",
        BadRequestError,
        "the server redirects; write the final address as `mllm.base_url`",
        status=range(300, 400),
    ),
    Row("final", ProtocolError, "the answer is longer than an answer can be", exception="OversizedBodyError"),
    Row("final", ProtocolError, "the answer is compressed, and was asked for plain", exception="EncodedBodyError"),
    Row("final", BadRequestError, "the request cannot be made", exception="UnicodeEncodeError"),
    # JSON or text that is none, numbers without end, brackets without end
    Row("final", ProtocolError, "the answer cannot be read", exception="ValueError"),
    Row("final", ProtocolError, "the answer cannot be read", exception="RecursionError"),
    Row("final", BadRequestError, "the request cannot be made", exception="Exception"),
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
    failure = Failure.of(error)
    row = next(row for row in TABLE if row.fits(failure))
    shown = "" if failure.status is None else f" (HTTP {failure.status})"
    said = scrub(_said(error, getattr(error, "body", None)), secret)
    message = f"{server or 'the server'}: {row.says}{shown}" + (f": {said}" if said else "")
    if issubclass(row.becomes, TransientBackendError):
        headers = getattr(getattr(error, "response", None), "headers", {})
        return row.becomes(message, retry_after=retry_after(headers))
    return row.becomes(message)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


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
