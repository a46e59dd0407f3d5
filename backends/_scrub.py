"""Makes text from elsewhere fit for messages and logs: no key, no picture; in an error one line, and not too long."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

LIMIT = 300
"""Characters kept."""

_DATA_URL = re.compile(r"data:[\w.+-]*\\?/?[\w.+-]*(?:;[\w=.+-]+)*,[^\s\"'<>)]*", re.IGNORECASE)
# JSON may escape / as \/, a URL as %2F; base64 in mail has lines of 76
_BASE64 = re.compile(r"[A-Za-z0-9+/\\%_=-]{65,}")
_PICTURE_URL = re.compile(r"data:image\\?/[\w.+-]+;base64,", re.IGNORECASE)
_LEAST_KEY = 16
_KEY = re.compile(r"(?i)\b(sk-|bearer\s+|basic\s+(?=[\w+/]*[\d=]))[\w.~+/=*-]+")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def scrub(text: str, secret: str = "") -> str:
    """Remove ``secret``, anything like a key, picture data and control characters; cut to `LIMIT`."""
    text = _CONTROL.sub(" ", redact(text, secret)).strip()
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}…"


def redact(text: str, secret: str = "") -> str:
    """Remove ``secret``, anything like a key, and picture data; cut to a million characters."""
    if secret:
        text = text.replace(secret, "[key]")
    # bounds the search; most of it may be picture data
    text = text[:1_000_000]
    text = _DATA_URL.sub("[data]", text)
    text = _BASE64.sub("[data]", text)
    text = _CREDENTIALS.sub("[credentials]@", text)
    return _KEY.sub(r"\1[key]", text)


def repeats_request(text: str, secret: str = "") -> bool:
    """Tell whether an answer holds the key or a picture, and so only repeats the request."""
    # a short key of a local server may be a plain word
    return (len(secret) >= _LEAST_KEY and secret in text) or _PICTURE_URL.search(text) is not None


def one_line(error: BaseException) -> str:
    """Return an error's text as one line without its full stop, or its type's name when it is empty."""
    text = " ".join(str(error).split())
    return (text if len(text) <= LIMIT else f"{text[:LIMIT]}…").rstrip(".") or type(error).__name__


LOGGERS = (
    "openai",
    "openai._base_client",
    "openai._response",
    "openai._legacy_response",
    "httpx2",
    "httpcore2.connection",
    "httpcore2.http11",
    "httpcore2.http2",
    "httpcore2.proxy",
    "httpcore2.socks",
)
"""Named one by one: a logger's filter does not see records of child loggers."""


class _Filter(logging.Filter):
    def __init__(self, secret: SecretStr) -> None:
        super().__init__()
        self._secret = secret

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        clean = redact(said, self._secret.get_secret_value())
        if clean != said:
            record.msg, record.args = clean, None
        return True


@contextmanager
def scrubbed_logs(secret: SecretStr) -> Iterator[None]:
    """Scrub log records of the HTTP and openai clients: a server may echo the key in a header, which is logged."""
    scrubber = _Filter(secret)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(scrubber)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(scrubber)
