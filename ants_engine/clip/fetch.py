"""Fetching a picture over HTTP behind an SSRF guard: bounded in place, time and size. Everything here blocks.

Imported only when a picture is given as a web address.
"""

import functools
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import httpcore2

from ants_engine.clip.web_address import WebAddress
from ants_engine.errors import ImageFetchError, ImageNotFoundError, ImageRefusedError, ImageTooLargeError
from ants_engine.settings.config import ImageSettings

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})

_IPV4_CLOSED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        # carrier-grade NAT; protocol assignments; 6to4 relays (anycast); benchmarks
        "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15",
        # documentation; multicast; reserved, with the broadcast address
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # Azure's host agent, in no registry
        "168.63.129.16/32",
    )
)  # fmt: skip
"""IANA's IPv4 special-purpose registry: addresses that are not globally reachable, or serve one protocol only."""
_IPV6_PUBLIC = ipaddress.IPv6Network("2000::/3")
"""Global unicast. Outside lie loopback, unique and link-local, site-local, multicast, discard,
segment routing (5f00::/16), and every form of IPv4 in IPv6 but 6to4."""
_IPV6_CLOSED = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        # protocol assignments with Teredo, benchmarks and ORCHID; documentation; what the 6bone was
        "2001::/23", "2001:db8::/32", "3fff::/20", "3ffe::/16",
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""Upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214)."""


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet.

    An IPv6 address that embeds an IPv4 address (v4-mapped, NAT64, 6to4, ISATAP) is public only where both are.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _IPV4_CLOSED)
    if ip.ipv4_mapped is not None or ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
    if ip not in _IPV6_PUBLIC or any(ip in network for network in _IPV6_CLOSED):
        return False
    inner = [] if ip.sixtofour is None else [ip.sixtofour]
    if int(ip) >> 32 & 0xFFFF_FFFF in _ISATAP:
        inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return all(is_public(str(one)) for one in inner)


# ---- the SSRF guard --------------------------------------------------------------------------------------------------


class Deadline:
    """A time budget shared by every step of one fetch."""

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left.

        Raises:
            httpcore2.TimeoutException: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("out of time")
        return left


class GuardedNetwork(httpcore2.NetworkBackend):
    """The SSRF guard: resolves a host name once, checks every address, and connects to a checked address only.

    Since the name is not resolved a second time, DNS rebinding cannot get around the check.
    """

    def __init__(self, name: str, allowed_hosts: Iterable[str], deadline: Deadline) -> None:
        """Prepare.

        Args:
            name: what the picture is called in errors.
            allowed_hosts: hosts that may also be on this machine or in a private network.
            deadline: for resolving, connecting, and every byte after.
        """
        self._name = name
        self._allowed = {host.strip("[]").rstrip(".").lower() for host in allowed_hosts}
        self._deadline = deadline
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve, check, connect.

        Raises:
            ImageRefusedError: an address of the host is not public, and the host is not allowed in the settings.
            httpcore2.ConnectError: none of the addresses can be reached, or there are none.
        """
        addresses = self._resolve(host, port)
        # a single private address is enough to refuse: which one is connected to would be left to chance
        if host.rstrip(".").lower() not in self._allowed and not all(map(is_public, addresses)):
            raise ImageRefusedError(
                self._name,
                f"{host} is on this machine or in a private network; name the host in pictures.url_hosts to allow it",
            )
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                left = self._deadline.left()
                stream = self._inner.connect_tcp(address, port, left, local_address, socket_options or ())
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _resolve(self, host: str, port: int) -> list[str]:
        """Resolve a host name, in a thread of its own: the system's resolver has no timeout."""
        found: list[str] = []

        def resolve() -> None:
            with suppress(OSError, UnicodeError):
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))

        thread = threading.Thread(target=resolve, name="ants-resolve", daemon=True)
        thread.start()
        thread.join(self._deadline.left())
        if not found:
            # raises if the time is up
            self._deadline.left()
            raise httpcore2.ConnectError("the host has no address")
        return found


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which every operation is bounded by the deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


# ---- the request -----------------------------------------------------------------------------------------------------


def fetch(url: str, name: str, limits: ImageSettings) -> bytes:
    """Fetch one picture over HTTP, as it was sent.

    The host name is resolved once per redirect hop, and the checked address is connected to. Proxies, cookies and
    stored credentials are not used. There is no retry: a picture that fails is set aside like a broken file.

    Args:
        url: http or https.
        name: what the picture is called in errors; without the address's query, which may hold a token.
        limits: ``urls`` (allowed at all), ``max_bytes``, ``url_timeout`` (seconds for everything, redirects included)
            and ``url_hosts``.

    Raises:
        ImageRefusedError: addresses are not allowed, or not this one, or not one that it redirects to.
        ImageNotFoundError: status 404 or 410.
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
    deadline = Deadline(limits.url_timeout)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            found = _request(address, name, limits, deadline)
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


def _request(address: WebAddress, name: str, limits: ImageSettings, deadline: Deadline) -> bytes | WebAddress:
    """Send one request; return the picture, or the address that it redirects to."""
    network = GuardedNetwork(name, limits.url_hosts, deadline)
    context = _ssl_context() if address.scheme == "https" else None
    target = httpcore2.URL(
        scheme=address.scheme, host=address.host, port=address.port, target=f"{address.path}{address.query}"
    )
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("Host", address.authority),
        ("Accept", "image/*"),
        # compressed content could be a decompression bomb, and a picture is compressed already
        ("Accept-Encoding", "identity"),
        ("User-Agent", "ants-engine"),
        ("Connection", "close"),
    ]
    with (
        httpcore2.ConnectionPool(ssl_context=context, network_backend=network, max_connections=1) as pool,
        pool.stream("GET", target, headers=headers) as response,
    ):
        fields = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers}
        if response.status in _REDIRECTS and "location" in fields:
            return address.follow(fields["location"], name=name)
        _check_head(response.status, fields, name, limits)
        data = bytearray()
        for chunk in response.iter_stream():
            data += chunk
            if len(data) > limits.max_bytes:
                raise _too_large(name, limits)
        return bytes(data)


def _check_head(status: int, fields: dict[str, str], name: str, limits: ImageSettings) -> None:
    if status in (404, 410):
        raise ImageNotFoundError(name, f"the server has no such picture (status {status})")
    if status in (401, 403):
        raise ImageFetchError(
            name, f"the server wants to know who asks (status {status}); download it and give its path"
        )
    if status != 200:
        raise ImageFetchError(name, f"the server answered with status {status}")
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _UNTYPED and not kind.startswith("image/"):
        shown = kind if re.fullmatch(r"[a-z0-9.+/-]{1,60}", kind) else "something"
        raise ImageFetchError(name, f"the server sent {shown} and no picture")
    if fields.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ImageFetchError(name, "the server sent it compressed although it was asked not to")
    length = fields.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_bytes:
        raise _too_large(name, limits)


def _too_large(name: str, limits: ImageSettings) -> ImageTooLargeError:
    return ImageTooLargeError(
        name, f"the server sends more bytes than pictures.max_bytes allows ({limits.max_bytes:,})"
    )


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()


def _cause(error: Exception) -> str:
    """Describe an error without text that the server may have sent."""
    if isinstance(error, httpcore2.ProtocolError):
        return "the server does not speak HTTP as it should"
    if "CERTIFICATE" in str(error).upper():
        return "the server's certificate is not trusted"
    if isinstance(error, httpcore2.ConnectError):
        return "the server cannot be reached"
    return "the connection broke"
