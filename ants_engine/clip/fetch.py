"""Fetching one picture from the web, within bounds of place, time and size. Blocking."""

import functools
import re
from typing import TYPE_CHECKING

from ants_engine.clip.web_address import WebAddress
from ants_engine.errors import (
    ImageFetchError,
    ImageNotFoundError,
    ImageRefusedError,
    ImageTooLargeError,
)
from ants_engine.settings.config import ImageSettings

if TYPE_CHECKING:
    import ssl

    import httpcore2

    from ants_engine.clip.guarded_network import Deadline

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})


def fetch(url: str, name: str, limits: ImageSettings) -> bytes:
    """Return what is at an address, as it was sent.

    The host's name is resolved once per hop and the checked address is connected to; proxies, cookies and stored
    credentials are not used. It is asked for once: a picture that fails is set aside like a broken file.

    Args:
        url: http or https.
        name: what the picture is called in errors; the address's query, which may hold a token, is not in it.
        limits: whether it is allowed at all, ``max_bytes``, ``url_timeout`` (seconds for everything, redirects
            included) and ``url_hosts``.

    Raises:
        ImageRefusedError: addresses are not allowed, or not this one, or not one that it redirects to.
        ImageNotFoundError: the server says that there is none.
        ImageTooLargeError: more bytes than ``max_bytes``; no more than these are read.
        ImageFetchError: the server cannot be reached, is too slow, or sends no picture.
    """
    address = WebAddress.parse(url, name=name)
    if limits.urls != "allow":
        raise ImageRefusedError(
            name,
            "pictures are not fetched from the network unless allowed; set pictures.urls = 'allow', or download it "
            "and give its path",
        )
    import httpcore2

    from ants_engine.clip.guarded_network import Deadline

    deadline = Deadline(limits.url_timeout)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            found = _ask(address, name, limits, deadline)
            if isinstance(found, bytes):
                return found
            address = found
    except httpcore2.TimeoutException:
        raise ImageFetchError(
            name, f"did not arrive within {limits.url_timeout:g} s; pictures.url_timeout allows more"
        ) from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol, OSError) as error:
        raise ImageFetchError(name, f"cannot be fetched ({_cause(error)})") from None
    raise ImageFetchError(name, f"redirects more than {MAX_REDIRECTS} times")


def _ask(address: WebAddress, name: str, limits: ImageSettings, deadline: "Deadline") -> bytes | WebAddress:
    """Ask once; return the picture, or where to ask next."""
    import httpcore2

    from ants_engine.clip.guarded_network import GuardedNetwork

    network = GuardedNetwork(name, limits.url_hosts, deadline)
    secure = _certificates() if address.scheme == "https" else None
    target = httpcore2.URL(
        scheme=address.scheme, host=address.host, port=address.port, target=f"{address.path}{address.query}"
    )
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("Host", address.authority),
        ("Accept", "image/*"),
        # what is compressed could be a bomb, and a picture is compressed already
        ("Accept-Encoding", "identity"),
        ("User-Agent", "ants-engine"),
        ("Connection", "close"),
    ]
    with (
        httpcore2.ConnectionPool(ssl_context=secure, network_backend=network, max_connections=1) as pool,
        pool.stream("GET", target, headers=headers) as response,
    ):
        fields = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers}
        if response.status in _REDIRECTS and "location" in fields:
            return address.follow(fields["location"], name=name)
        _check_status(response.status, name)
        _check_fields(fields, name, limits)
        return _body(response, name, limits)


def _check_status(status: int, name: str) -> None:
    if status in (404, 410):
        raise ImageNotFoundError(name, f"the server has no such picture (status {status})")
    if status in (401, 403):
        raise ImageFetchError(
            name, f"the server wants to know who asks (status {status}); download it and give its path"
        )
    if status != 200:
        raise ImageFetchError(name, f"the server answered with status {status}")


def _check_fields(fields: dict[str, str], name: str, limits: ImageSettings) -> None:
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _UNTYPED and not kind.startswith("image/"):
        shown = kind if re.fullmatch(r"[a-z0-9.+/-]{1,60}", kind) else "something"
        raise ImageFetchError(name, f"the server sent {shown} and no picture")
    if fields.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ImageFetchError(name, "the server sent it compressed although it was asked not to")
    length = fields.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise _too_large(name, limits)


def _body(response: "httpcore2.Response", name: str, limits: ImageSettings) -> bytes:
    data = bytearray()
    for chunk in response.iter_stream():
        data += chunk
        if len(data) > limits.max_bytes:
            raise _too_large(name, limits)
    return bytes(data)


def _too_large(name: str, limits: ImageSettings) -> ImageTooLargeError:
    return ImageTooLargeError(
        name, f"the server sends more bytes than pictures.max_bytes allows ({limits.max_bytes:,})"
    )


@functools.cache
def _certificates() -> "ssl.SSLContext":
    import httpcore2

    return httpcore2.default_ssl_context()


def _cause(error: Exception) -> str:
    """Say what went wrong without what the server may have said."""
    import httpcore2

    if isinstance(error, httpcore2.ProtocolError):
        return "the server does not speak HTTP as it should"
    if "CERTIFICATE" in str(error).upper():
        return "the server's certificate is not trusted"
    if isinstance(error, httpcore2.ConnectError):
        return "the server cannot be reached"
    return "the connection broke"
