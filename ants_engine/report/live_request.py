"""One request to the page of a run, read and judged: h11 reads HTTP, and what is not our own reader's is refused."""

import asyncio
import secrets
from dataclasses import dataclass

import h11

HEAD = 8192
"""Bytes of a request's line and headers."""
SITES = (b"same-origin", b"none")
"""What a browser says of a request that our page, or its user, has made."""


class RefusedError(Exception):
    """A request that is not served."""

    def __init__(self, status: int, words: str) -> None:
        """Say so with a status of HTTP and a sentence."""
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request that may be served."""

    path: str
    """Below the secret part of the address, without a leading slash."""
    seen: int
    """The version that a reader of events has; 0 where it has none."""


async def read_request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    """Read a request's head; a body is not waited for.

    Raises:
        h11.RemoteProtocolError: that is no HTTP, or too much of it.
        ConnectionError: it ended before its head did.
    """
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise ConnectionResetError("the reader went away before it asked for anything")
        connection.receive_data(await reader.read(HEAD))


def judge(request: h11.Request, port: int, token: str) -> PageRequest:
    """See that a request is a GET of our page by its own address, and by one who knows the secret.

    Raises:
        RefusedError: it is not.
    """
    headers = {name: value for name, value in request.headers if name in (b"host", b"sec-fetch-site", b"last-event-id")}
    # a name that was made to point here (DNS rebinding) is not ours
    if headers.get(b"host") not in (f"127.0.0.1:{port}".encode(), f"localhost:{port}".encode()):
        raise RefusedError(421, "this page is served as 127.0.0.1 and localhost only")
    if headers.get(b"sec-fetch-site", b"none") not in SITES:
        raise RefusedError(403, "another site's page has asked for this")
    given, _, path = request.target.partition(b"?")[0].removeprefix(b"/").partition(b"/")
    if not secrets.compare_digest(given, token.encode()):
        raise RefusedError(404, "nothing is here; the address that the command printed has a secret part")
    if request.method != b"GET":
        raise RefusedError(405, "there is nothing here but pages to GET")
    seen = headers.get(b"last-event-id", b"")
    return PageRequest(path.decode("ascii", "replace"), int(seen) if seen.isdigit() and len(seen) < 16 else 0)
