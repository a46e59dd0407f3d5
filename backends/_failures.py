"""Maps each failure of the openai client to one of our errors: one table."""

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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

from ._scrub import scrub


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the table: a failure that matches every given field becomes ``becomes``."""

    becomes: type[BackendError]
    says: str
    """What went wrong and what to do; the server's own words follow."""
    exception: str | None = None
    """Name of the exception or of a base class: the client is not imported for this table."""
    cause: Collection[str] = ()
    """Name of a chained exception or of a base class."""
    code: Collection[str] = ()
    """The error's ``code`` or ``type`` in the body, or the reason that TLS or HTTP give."""
    status: Collection[int] = ()
    words: re.Pattern[str] | None = None
    """Matches the message of the server or the client."""
    down: bool = False
    """The server is down; see `BackendUnavailableError`."""
    sent: bool = True
    """False when nothing was sent; see `BackendError`."""

    def fits(self, failure: "FailureFacts") -> bool:
        """Tell whether every given field matches."""
        return (
            (self.exception is None or self.exception in failure.names)
            and (not self.code or bool(failure.codes.intersection(self.code)))
            and (not self.cause or bool(failure.causes.intersection(self.cause)))
            and (not self.status or failure.status in self.status)
            and (self.words is None or self.words.search(failure.said) is not None)
        )


@dataclass(frozen=True, slots=True)
class FailureFacts:
    """What a rule is matched against."""

    names: frozenset[str]
    causes: frozenset[str]
    codes: frozenset[str]
    status: int | None
    said: str

    @classmethod
    def of(cls, error: Exception) -> "FailureFacts":
        """Read an exception of the client."""
        body = _unwrapped(getattr(error, "body", None))
        status = getattr(error, "status_code", None)
        codes = [_field(body, name) for name in ("code", "type")]
        if status is None:
            codes += [
                getattr(cause, name, None) for cause in _causes(error) for name in ("reason", "error_status_hint")
            ]
        return cls(
            names=frozenset(base.__name__ for base in type(error).__mro__),
            causes=frozenset(base.__name__ for cause in _causes(error) for base in type(cause).__mro__),
            codes=frozenset(str(code) for code in codes if code),
            status=status if isinstance(status, int) else None,
            said=_said(error),
        )

    @classmethod
    def within(cls, error: object) -> "FailureFacts":
        """Read an error inside a response of HTTP 200, as aggregators send it."""
        found = [value for name, value in _fields(error) if name in _SAYS_STATUS]
        return cls(
            names=frozenset(),
            causes=frozenset(),
            codes=frozenset(str(code) for code in found if isinstance(code, str | int)),
            # a number is more precise than a word
            status=next((status for status in map(_status, sorted(found, key=_is_word)) if status is not None), None),
            said=_words(error),
        )


_SAYS_STATUS = {"code", "status", "status_code", "http_status", "error_code", "type", "error_type"}
_STATUS_OF = {
    "badrequest": 400, "invalidrequest": 400, "authentication": 401, "unauthorized": 401, "invalidapikey": 401,
    "permission": 403, "permissiondenied": 403, "forbidden": 403, "notfound": 404, "modelnotfound": 404,
    "ratelimit": 429, "ratelimitexceeded": 429, "toomanyrequests": 429, "resourceexhausted": 429, "server": 500,
    "internalserver": 500, "internal": 500, "upstream": 502, "provider": 502, "badgateway": 502, "overloaded": 503,
    "serviceunavailable": 503, "unavailable": 503, "timeout": 504, "gatewaytimeout": 504, "deadlineexceeded": 504,
}  # fmt: skip
"""HTTP status of words used as a code, reduced to lower-case letters without a final ``error``."""
_NO_PICTURES = re.compile(
    r"(?i)mmproj|image input is not supported|image_url.{0,40}(only|not) supported|unknown variant .?image_url"
    r"|no endpoints found that support image|at most 0 image|not (a )?multi-?modal"
    r"|not support (image|vision|multi-?modal)"
    r"|missing data required for image input|(images?|vision|multi-?modal)\b.{0,30} (is|are) not supported"
    r"|can only concatenate str|content must be a string|expected a string, but got.{0,10} (list|array)"
)
"""How text-only servers refuse a picture, with any status."""
_NO_KEY = re.compile(
    r"(?i)(incorrect|invalid|wrong|malformed) api.?key|api.?key (is )?(not valid|invalid)|no connected db"
)
_NO_MODEL = re.compile(r"(?i)invalid model name|no such model|unknown model|model\b.{0,80}(does not exist|not found)")
_NO_PARAMETER = re.compile(
    r"(?i)(unsupported|unrecognized|unknown|unexpected) (parameter|request argument|value|keyword)"
)
_WANTS_NAME = re.compile(r"\b407\b")
_DECLINES = re.compile(r"\b4\d\d\b")


TABLE: tuple[Rule, ...] = (
    Rule(BackendUnavailableError, "connecting timed out: it cannot be reached",
         exception="APITimeoutError", cause={"ConnectTimeout"}, down=True, sent=False),
    Rule(BackendTimeoutError, "no answer in time", exception="APITimeoutError"),
    Rule(BadRequestError, "its certificate cannot be trusted; add its authority to the system's store, or name the "
         "authority's file in the environment variable SSL_CERT_FILE",
         exception="APIConnectionError", code={"CERTIFICATE_VERIFY_FAILED"}),
    Rule(BadRequestError, "it does not speak TLS there; look at `mllm.base_url`: http:// or https://?",
         exception="APIConnectionError", code={"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}),
    Rule(ProtocolError, "its headers are too long", exception="APIConnectionError", code={"431"}),
    Rule(AuthenticationError, "the proxy wants a name and a password; its variable takes them as "
         "http://name:password@host:port",
         exception="APIConnectionError", cause={"ProxyError"}, words=_WANTS_NAME, sent=False),
    Rule(BadRequestError, "the proxy declines to connect to it",
         exception="APIConnectionError", cause={"ProxyError"}, words=_DECLINES, sent=False),
    Rule(BackendUnavailableError, "the server cannot be reached, or closed the connection",
         exception="APIConnectionError", cause={"ConnectError", "ProxyError"}, down=True, sent=False),
    Rule(BackendUnavailableError, "the server cannot be reached, or closed the connection",
         exception="APIConnectionError", down=True),
    Rule(ProtocolError, "the response does not follow the chat API", exception="APIResponseValidationError"),
    Rule(QuotaError, "the account's quota is spent",
         code={"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}),
    Rule(QuotaError, "the account has no credit", status={402}),
    Rule(RefusedAnswerError, "the server's content filter refused the question",
         code={"content_filter", "content_policy_violation"}),
    Rule(BadRequestError, "the model takes no pictures: name one that does (llama.cpp needs its --mmproj), or set "
         "`mllm.pictures = false` to ask for look-alikes alone", words=_NO_PICTURES),
    Rule(RateLimitError, "rate limit exceeded", status={429}),
    Rule(AuthenticationError, "the key was refused; `mllm.api_key_env` names its variable", words=_NO_KEY),
    Rule(AuthenticationError, "the proxy wants a name and a password, in its variable", status={407}),
    Rule(BadRequestError, "no such model; look at `mllm.model`", words=_NO_MODEL, status={400, 404, 422, 500}),
    Rule(BadRequestError, "a field of the request is unknown there; look at `mllm.limit_parameter`, "
         "`mllm.send_temperature` and `mllm.extra_body`", words=_NO_PARAMETER, status=range(400, 500)),
    Rule(AuthenticationError, "the key was refused; `mllm.api_key_env` names its variable", status={401}),
    Rule(AuthenticationError, "the key may not do this", status={403}),
    Rule(BadRequestError, "no such model or address; look at `mllm.model` and `mllm.base_url`", status={404}),
    Rule(BadRequestError, "too large; lower `mllm.image_max_side`", status={413}),
    Rule(BackendUnavailableError, "the server asks to try again", status={408, 409, 425}),
    Rule(OverloadedError, "the server is overloaded", status={503, 529}),
    Rule(BackendUnavailableError, "the gateway or proxy got no answer from the server",
         status={502, 504, 521, 522, 523}, down=True),
    Rule(BackendUnavailableError, "the server failed", status=range(500, 600)),
    Rule(BadRequestError, "the server rejects the request", status=range(400, 500)),
    Rule(BadRequestError, "the server redirects; write the final address as `mllm.base_url`", status=range(300, 400)),
    Rule(ProtocolError, "the response is too long", exception="OversizedBodyError"),
    Rule(ProtocolError, "the response is compressed", exception="EncodedBodyError"),
    Rule(BadRequestError, "the request cannot be made", exception="UnicodeEncodeError", sent=False),
    # malformed JSON or text, huge numbers, deep nesting
    Rule(ProtocolError, "the response cannot be parsed", exception="ValueError"),
    Rule(ProtocolError, "the response cannot be parsed", exception="RecursionError"),
    Rule(BadRequestError, "the request cannot be made", exception="Exception", sent=False),
    # an error inside a response, of which only its words are known
    Rule(BackendUnavailableError, "the server failed"),
)  # fmt: skip
"""Searched from the top; the first rule that matches counts."""


def classify(error: Exception, *, secret: str = "", server: str = "") -> BackendError:
    """Build our error for an exception of the openai client.

    It holds only scrubbed words of the original. Raise it outside of the ``except`` block, so that the original, whose
    request carries key and picture, is not chained to it.

    Args:
        error: what the client raised.
        secret: the key, to be kept out of the message.
        server: names the server in the message.
    """
    failure = FailureFacts.of(error)
    shown = "" if failure.status is None else f" (HTTP {failure.status})"
    headers = getattr(getattr(error, "response", None), "headers", {})
    return _build(failure, shown, retry_after(headers), secret, server)


def error_within(completion: object) -> object | None:
    """Return the error inside a response of HTTP 200, at its top or in its choice; None if there is none."""
    whole = completion[0] if isinstance(completion, list) and completion else completion
    choices = _field(whole, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    places = [whole, choice, _field(choice, "message")]
    for error in (_field(place, "error") for place in places):
        if error and isinstance(error, Mapping | str | list):
            return error
    said = _field(whole, "message") or _field(whole, "detail")
    bare = choice is None and (_field(whole, "object") == "error" or (said and _status(_field(whole, "code"))))
    return whole if bare else None


def classify_within(error: object, *, secret: str = "", server: str = "") -> BackendError:
    """Build our error for one inside a response of HTTP 200; see `error_within` and `classify`."""
    failure = FailureFacts.within(error)
    shown = " (HTTP 200 with an error in it)" if failure.status is None else f" (HTTP 200, error {failure.status})"
    wishes = {
        name.replace("_", "-"): str(value) for name, value in _fields(error) if isinstance(value, str | int | float)
    }
    return _build(failure, shown, retry_after(wishes), secret, server)


def _build(failure: FailureFacts, shown: str, wish: float | None, secret: str, server: str) -> BackendError:
    rule = next(rule for rule in TABLE if rule.fits(failure))
    said = scrub(failure.said, secret)
    message = f"{server or 'the server'}: {rule.says}{shown}" + (f": {said}" if said else "")
    transient = issubclass(rule.becomes, TransientBackendError)
    built = rule.becomes(message, retry_after=wish) if transient else rule.becomes(message)  # type: ignore[call-arg]
    built.sent = rule.sent
    if isinstance(built, BackendUnavailableError):
        built.down = built.down or rule.down
    return built


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _said(error: Exception) -> str:
    found = _words(getattr(error, "body", None))
    if found or getattr(error, "response", None) is not None:
        return found
    cause = error.__cause__ or error
    return f"{type(cause).__name__} {cause}".strip()


def _words(body: object) -> str:
    """Find the message in an error's body: a text, an object, a list, or an HTML page."""
    if isinstance(body, str):
        # the title of a proxy's error page says enough
        page = _TITLE.search(body) if body.lstrip().startswith("<") else None
        return body if not body.lstrip().startswith("<") else " ".join(page[2].split()) if page else ""
    if isinstance(body, list):
        return next((found for found in map(_words, body) if found), "")
    if not isinstance(body, Mapping) or not body:
        return ""
    message = next(
        (body[name] for name in ("message", "detail", "error", "msg") if isinstance(body.get(name), str)), ""
    ) or (_words(body["error"]) if isinstance(body.get("error"), Mapping | list) else "")
    # the message of the provider behind an aggregator
    raw = _field(body.get("metadata"), "raw")
    behind = _words(_parsed(raw) if isinstance(raw, str) else raw)
    return f"{message}: {behind}" if message and behind else message or behind or str(dict(body))


def _unwrapped(body: object) -> object:
    """Unwrap an error from lists and objects around it."""
    for _ in range(_DEEPEST):
        if isinstance(body, list) and body:
            body = body[0]
        elif isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
            body = body["error"]
        else:
            break
    return body


def _fields(thing: object, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Iterate over the fields of an error, outer ones first."""
    thing = _parsed(thing) if isinstance(thing, str) else thing
    if depth > _DEEPEST:
        return
    inner: Iterable[object] = ()
    if isinstance(thing, Mapping):
        yield from ((str(name).lower(), value) for name, value in thing.items())
        inner = thing.values()
    elif isinstance(thing, list):
        inner = thing[:_DEEPEST]
    for value in inner:
        if isinstance(value, Mapping | list | str):
            yield from _fields(value, depth + 1)


def _status(code: object) -> int | None:
    """Return the HTTP status of a code or word."""
    if isinstance(code, str) and _is_word(code):
        letters = re.sub("[^a-z]", "", code.lower())
        return _STATUS_OF.get(letters.removesuffix("error")) or _STATUS_OF.get(letters)
    number = int(code) if isinstance(code, int | str) and len(str(code)) == _DIGITS else 0
    return number if number in _FAILED else None


def _is_word(code: object) -> bool:
    return isinstance(code, str) and not code.strip().isdecimal()


def _parsed(text: str) -> object:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _field(body: object, name: str) -> object:
    return body.get(name) if isinstance(body, Mapping) else None


_TITLE = re.compile(r"(?is)<(title|h1)\b[^>]*>([^<]{1,200})")
_DEEPEST, _DIGITS = 5, 3
_FAILED = range(400, 600)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header; names are matched as the mapping does.

    ``retry-after-ms`` has precedence over ``retry-after``, which is seconds, an HTTP date or a duration such as
    ``1m30s``. A date in the past gives 0, anything else None.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return seconds
    if _DURATION.fullmatch(value.lower()):
        # many digits make an infinity
        return _number(str(sum(float(count) * _UNITS[unit] for count, unit in _PART.findall(value.lower()))))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
