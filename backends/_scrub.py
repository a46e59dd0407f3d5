"""Makes text from elsewhere fit for messages and logs: no key, no picture; in an error one line, and not too long."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

LIMIT = 300
"""Characters kept."""

_DATA_URL = re.compile(r"data:[\w.+-]*\\?/?[\w.+-]*(?:;[\w=.+-]+)*,[^\s\"'<>)]*", re.IGNORECASE)
# JSON may write / as \/, an address as %2F; a line of base64 in a mail is 76 long
_BASE64 = re.compile(r"[A-Za-z0-9+/\\%_=-]{65,}")
_PICTURE_URL = re.compile(r"data:image\\?/[\w.+-]+;base64,", re.IGNORECASE)
_LEAST_KEY = 16
_KEY = re.compile(r"(?i)\b(sk-|bearer\s+|basic\s+(?=[\w+/]*[\d=]))[\w.~+/=*-]+")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def scrub(text: str, secret: str = "") -> str:
    """Take out ``secret``, whatever looks like a key, picture data and control characters, and shorten."""
    text = _CONTROL.sub(" ", redact(text, secret)).strip()
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}…"


def redact(text: str, secret: str = "") -> str:
    """Take out ``secret``, whatever looks like a key, and picture data; of a very long text the start is kept."""
    if secret:
        text = text.replace(secret, "[key]")
    # No need to search further than what can end in a message; picture data may be most of it.
    text = text[:1_000_000]
    text = _DATA_URL.sub("[data]", text)
    text = _BASE64.sub("[data]", text)
    text = _CREDENTIALS.sub("[credentials]@", text)
    return _KEY.sub(r"\1[key]", text)


def repeats_request(text: str, secret: str = "") -> bool:
    """Say whether an answer holds the key or a picture: then it repeats what was asked, and answers nothing."""
    # A server of one's own is given a word for a key, which an answer may well hold.
    return (len(secret) >= _LEAST_KEY and secret in text) or _PICTURE_URL.search(text) is not None


def one_line(error: BaseException) -> str:
    """Fold an error's text into a line without its full stop; its type's name when it has none."""
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
"""Named one by one: a logger's filter does not see what its children log."""


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
    """Scrub those records for as long as it lasts. A server may repeat the key in a header, and headers are logged."""
    scrubber = _Filter(secret)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(scrubber)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(scrubber)
