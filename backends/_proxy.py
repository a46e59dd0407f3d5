"""Which proxy of the environment stands in front of a server."""

import importlib
import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import SecretStr

from ants_engine.errors import MissingDependencyError, SettingError, UsageError

_SOCKS = {"socks", "socks5", "socks5h"}


@dataclass(frozen=True, slots=True)
class EnvironmentProxy:
    """A proxy, and the variable that names it."""

    variable: str
    """Such as ``HTTPS_PROXY``, spelled as it is set."""
    url: SecretStr
    """Its address, which may hold a password."""


def proxy_for(url: str) -> EnvironmentProxy | None:
    """Find the proxy that the environment names for a server.

    The variables are ``HTTP_PROXY`` or ``HTTPS_PROXY`` by the server's scheme, else ``ALL_PROXY``; hosts in
    ``NO_PROXY`` need none. This machine (``localhost``, 127.0.0.1, ::1, 0.0.0.0) is always reached directly: a proxy
    elsewhere would look for the server on its own machine. A proxy that is not used is not looked at.

    Raises:
        SettingError: the variable holds no address of a proxy.
        MissingDependencyError: it names a SOCKS proxy, and the package for that is not installed.
    """
    found = _find(url)
    # raised here, where no frame holds the address
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
    # what desktops write into all_proxy
    scheme = "socks5" if scheme == "socks" else scheme
    if scheme not in {"http", "https", *_SOCKS} or not _is_address(f"{scheme}://{rest}"):
        return SettingError(
            f"{variable}: not the address of a proxy, which is http://host:port or socks5://host:port. "
            f"To reach {host} without it, put that into NO_PROXY"
        )
    if scheme in _SOCKS:
        try:
            importlib.import_module("socksio")
        except ImportError:
            return MissingDependencyError(
                f"{variable} names a SOCKS proxy, which takes one more package: pip install 'httpx2[socks]'. "
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
