"""Guards around the HTTP client: which proxy of the environment it uses, and bounded, uncompressed bodies."""

import importlib
import ipaddress
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2
from pydantic import SecretStr

from ants_engine.errors import MissingDependencyError, SettingError, UsageError

_SOCKS = {"socks", "socks5", "socks5h"}


@dataclass(frozen=True, slots=True)
class EnvironmentProxy:
    """A proxy, and the environment variable that names it."""

    variable: str
    """Such as ``HTTPS_PROXY``, spelled as it is set."""
    url: SecretStr
    """Its address, which may hold a password."""


def proxy_for(url: str) -> EnvironmentProxy | None:
    """Return the proxy that the environment names for a server.

    The variables are ``HTTP_PROXY`` or ``HTTPS_PROXY`` by the server's scheme, else ``ALL_PROXY``; hosts in
    ``NO_PROXY`` need none. This machine (``localhost``, 127.0.0.1, ::1, 0.0.0.0) is always reached directly, because a
    remote proxy would look for the server on its own machine. A proxy that is not used is not checked.

    Raises:
        SettingError: the variable does not hold a proxy's address.
        MissingDependencyError: it names a SOCKS proxy, and the package for that is not installed.
    """
    found = _find(url)
    # raised here, where no frame of the traceback holds the address
    if isinstance(found, UsageError):
        raise found
    return found


def _find(url: str) -> EnvironmentProxy | UsageError | None:
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    known = getproxies()
    which = parts.scheme if known.get(parts.scheme) else "all"
    address = known.get(which)
    if not address or _is_here(host) or _is_exempt(host, port, known.get("no", "")):
        return None
    variable = next(
        (name for name, value in os.environ.items() if name.lower() == f"{which}_proxy" and value == address),
        f"{which}_proxy",
    )
    address = address if "://" in address else f"http://{address}"
    scheme, _, rest = address.partition("://")
    scheme = scheme.lower()
    # desktops write this into all_proxy
    scheme = "socks5" if scheme == "socks" else scheme
    if scheme not in {"http", "https", *_SOCKS} or not _is_address(f"{scheme}://{rest}"):
        return SettingError(
            f"{variable}: not the address of a proxy, such as http://host:port or socks5://host:port. "
            f"To reach {host} without it, put that into NO_PROXY"
        )
    if scheme in _SOCKS:
        try:
            importlib.import_module("socksio")
        except ImportError:
            return MissingDependencyError(
                f"{variable} names a SOCKS proxy, which needs one more package: pip install 'httpx2[socks]'. "
                f"To reach {host} without it, put that into NO_PROXY"
            )
    return EnvironmentProxy(variable, SecretStr(f"{scheme}://{rest}"))


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_exempt(host: str, port: int | None, listed: str) -> bool:
    """Read ``NO_PROXY`` as curl does: names with their subdomains, addresses, networks, each with or without a port."""
    for entry in (each.lower() for each in re.split(r"[,\s]+", listed)):
        name, _, number = entry.rpartition("://")[2].rpartition(":")
        if not (name and number.isdecimal() and (":" not in name or name.endswith("]"))):
            name, number = entry.rpartition("://")[2], ""
        if not name or (number and int(number) != port):
            continue
        name = name.strip("[]").removeprefix("*.").strip(".")
        if name in {"*", host} or host.endswith(f".{name}"):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and " " not in parts.netloc and parts.port != 0
    except ValueError:
        return False


BODY_LIMIT = 4 * 2**20
"""Bytes of a response; the longest stored answer has 20,000 characters."""
ERROR_LIMIT = 2**16
"""Bytes of an error response that are read."""


class OversizedBodyError(Exception):
    """The response is longer than the limit."""


class EncodedBodyError(Exception):
    """The response is compressed (guards against decompression bombs)."""


async def ask_for_plain(request: httpx2.Request) -> None:
    """Ask for an uncompressed body. A request hook of the client."""
    request.headers["Accept-Encoding"] = "identity"


async def bound(response: httpx2.Response) -> None:
    """Bound a response's body. A response hook of the client.

    The body of an error response is cut at its limit, and dropped when it is compressed: the status counts.

    Raises:
        OversizedBodyError: the response is too long by its Content-Length, or, while it is read, by its bytes.
        EncodedBodyError: the response is compressed.
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
    return f"{length}; the limit is {BODY_LIMIT}"
