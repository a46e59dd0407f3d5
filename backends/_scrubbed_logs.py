"""Keep key and pictures out of what the HTTP client and the openai client log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from ._scrub import redact

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
