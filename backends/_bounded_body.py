"""Bound what a server can make its client hold: a response's body is plain, and not longer than an answer can be."""

from collections.abc import AsyncIterator

import httpx2

BODY_LIMIT = 4 * 2**20
"""Bytes of an answer. The longest that is kept is 20,000 characters."""
ERROR_LIMIT = 2**16
"""Bytes of an error that are looked at; the rest is left unread."""


class OversizedBodyError(Exception):
    """The answer is longer than the limit."""


class EncodedBodyError(Exception):
    """The answer is compressed: how long it really is could only be found out by unpacking it."""


async def ask_for_plain(request: httpx2.Request) -> None:
    """Ask for a body that is not compressed. A request hook of the client."""
    request.headers["Accept-Encoding"] = "identity"


async def bound(response: httpx2.Response) -> None:
    """Let no more than the limit of a body through. A response hook of the client.

    An error's status counts, whatever its body: that is cut, and left out when it is compressed.

    Raises:
        OversizedBodyError: the answer says that it is too long; raised while it is read if it says nothing.
        EncodedBodyError: the answer is compressed.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    plain = encoding in {"", "identity"}
    answer = response.is_success
    if answer and not plain:
        raise EncodedBodyError(f"Content-Encoding {encoding[:40]!r}, not 'identity'")
    limit = BODY_LIMIT if answer else ERROR_LIMIT if plain else 0
    length = response.headers.get("Content-Length", "")
    if answer and length.isdecimal() and int(length[:20]) > limit:
        raise OversizedBodyError(_too_long(f"{length[:20]} bytes"))
    if not plain:
        del response.headers["Content-Encoding"]
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream, limit, strict=answer)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, limit: int, *, strict: bool) -> None:
        self._inner = inner
        self._limit = limit
        self._strict = strict

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        async for part in self._inner:
            if len(part) > left:
                if self._strict:
                    raise OversizedBodyError(_too_long(f"more than {self._limit} bytes"))
                yield part[:left]
                return
            left -= len(part)
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()


def _too_long(length: str) -> str:
    return f"{length}, and {BODY_LIMIT} are allowed"
