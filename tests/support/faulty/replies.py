"""What each kind of `KINDS` looks like on the wire."""

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache

from .http import Incoming, completion, error, response


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on its way."""

    incoming: Incoming
    right: str
    """The right answer to it."""
    retry_after: float
    """Seconds that the server asks for where it asks for some."""

    @property
    def echo(self) -> str:
        """The request as a careless server repeats it: with the key, and with the picture."""
        return f"{self.incoming.authorization} {self.incoming.body.decode()}"


def whole(kind: str, asked: Asked) -> bytes:
    """Spell a reply that is sent in one go.

    Raises:
        KeyError: the kind is one of those in ``streams``.
    """
    return _WHOLE[kind](asked)


def right(asked: Asked) -> bytes:
    """Spell the right answer."""
    return response(200, completion(asked.right))


def slow_down(wait: str | None = None, name: str = "Retry-After", status: int = 429) -> bytes:
    """Spell a 429, or what a proxy says instead."""
    return response(status, error("slow down"), {} if wait is None else {name: wait})


def _date(asked: Asked) -> bytes:
    wait = timedelta(seconds=math.ceil(asked.retry_after))
    return slow_down(format_datetime(datetime.now(UTC) + wait, usegmt=True))


def _duration(asked: Asked) -> bytes:
    minutes, seconds = divmod(asked.retry_after, 60)
    return slow_down(f"{minutes:g}m{seconds:g}s")


def _echoed_in_head(asked: Asked) -> bytes:
    picture = asked.incoming.picture or ""
    headers = {"X-Request": asked.incoming.authorization, "X-Picture": picture[:8000]}
    return response(500, error(f"failed on {asked.echo}"), headers, reason=f"Failed for {asked.incoming.authorization}")


@cache
def _large() -> bytes:
    return response(200, completion("a" * 10_000_000))


@cache
def _large_page() -> bytes:
    return response(503, b"<html>" + b"a" * 10_000_000, {"Content-Type": "text/html"})


def _body(text: bytes, content_type: str = "application/json") -> Callable[[Asked], bytes]:
    return lambda _: response(200, text, {"Content-Type": content_type})


def _failed(status: int, message: str, code: str | None = None) -> Callable[[Asked], bytes]:
    return lambda _: response(status, error(message, code))


_NESTED = b'{"choices": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
_LONG_NUMBER = b'{"choices": [], "created": ' + b"9" * 100_000 + b"}"

_WHOLE: dict[str, Callable[[Asked], bytes]] = {
    "right": right,
    "slow": right,
    "wrong-type": lambda asked: response(200, completion(asked.right), {"Content-Type": "text/plain"}),
    "cookie": lambda asked: response(200, completion(asked.right), {"Set-Cookie": "pin=you; Path=/"}),
    "429-bare": lambda _: slow_down(),
    "429-seconds": lambda asked: slow_down(f"{asked.retry_after:g}"),
    "429-date": _date,
    "429-duration": _duration,
    "429-ms": lambda asked: slow_down(f"{asked.retry_after * 1000:g}", "retry-after-ms"),
    "429-quota": _failed(429, "you have spent it all", "insufficient_quota"),
    "500": _failed(500, "oops"),
    "500-echo": _echoed_in_head,
    "502": lambda _: response(502, b"bad gateway", {"Content-Type": "text/plain"}),
    "503": _failed(503, "overloaded"),
    "503-seconds": lambda asked: response(503, error("overloaded"), {"Retry-After": f"{asked.retry_after:g}"}),
    "503-html": lambda _: response(503, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
    "503-large": lambda _: _large_page(),
    "503-gzip": lambda _: response(503, gzip.compress(error("overloaded")), {"Content-Encoding": "gzip"}),
    "408": _failed(408, "you were too slow"),
    "400": _failed(400, "cannot take this"),
    "400-echo": lambda asked: response(400, error(f"cannot take {asked.echo}")),
    "401": lambda asked: response(401, error(f"Incorrect API key provided: {asked.incoming.authorization}")),
    "403": _failed(403, "not you"),
    "404": _failed(404, "The model `tiny` does not exist", "model_not_found"),
    "413": _failed(413, "too much"),
    "422": lambda _: response(422, json.dumps({"detail": "Unexpected fields"}).encode()),
    "307": lambda _: response(307, b"", {"Location": "/v1/elsewhere"}),
    "filtered": _failed(400, "not this", "content_filter"),
    "invalid-json": _body(b'{"choices": [{"mess'),
    "text": _body(b"hello", "text/plain"),
    "html": _body(b"<html>Log in to this network</html>", "text/html"),
    "wrong-list": _body(b"[1, 2]"),
    "wrong-shape": _body(b'{"choices": [{"message": {"content": {"a": 1}}}]}'),
    "null": _body(b"null"),
    "no-message": _body(b'{"choices": [{}]}'),
    "bare-message": _body(b'{"choices": [{"message": "a red ball"}]}'),
    "no-choices": _body(b'{"choices": []}'),
    "nested": _body(_NESTED),
    "long-number": _body(_LONG_NUMBER),
    "answer-echo": lambda asked: response(200, completion(asked.echo)),
    "gzip": lambda asked: response(200, gzip.compress(completion(asked.right)), {"Content-Encoding": "gzip"}),
    "large": lambda _: _large(),
    "none": lambda _: response(200, completion(None)),
    "blank": lambda _: response(200, completion(" \n")),
    "refusal": lambda _: response(200, completion(None, refusal="I'd rather not")),
    "refusal-text": lambda _: response(200, completion("I'm sorry, but I can't help with that.")),
    "filter-stop": lambda _: response(200, completion("a r", finish="content_filter")),
    "length": lambda _: response(200, completion("a red", finish="length")),
}
