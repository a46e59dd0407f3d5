"""Web addresses of pictures: parsing, checks, and names that are safe to show."""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from ants_engine.errors import ImageRefusedError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_PORTS = {"http": 80, "https": 443}
_SHOWN = 200
_PATH, _QUERY = "/%:@!$&'()*+,;=~-._", "/%:@!$&'()*+,;=~-._?[]"


def web_scheme(text: str) -> str | None:
    """Return the lower-case scheme of an address (``https``, ``s3``, ``data``); None for a file path."""
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme = found[1].lower()
    return scheme if text[found.end() :].startswith("//") or scheme == "data" else None


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https address without credentials."""

    scheme: str
    host: str
    """Lower case, ASCII; an IPv6 address without brackets."""
    port: int
    path: str
    """Begins with a slash; what is not ASCII is percent-encoded."""
    query: str = field(default="", repr=False)
    """With its question mark. May hold a token, so it appears in no name, message or file."""

    @classmethod
    def parse(cls, text: str, *, name: str) -> "WebAddress":
        """Parse and check an address.

        Args:
            text: the address.
            name: what the picture is called in errors.

        Raises:
            ImageRefusedError: it is not http or https, holds credentials, or names no host.
        """
        if web_scheme(text) == "data":
            raise ImageRefusedError(name, "inline data is not read; decode it and give the bytes")
        if re.search(r"[\x00-\x20\x7f\\]", text):
            raise ImageRefusedError(name, "the address holds a blank, a control character or a backslash; encode it")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
            credentials = parts.username is not None or parts.password is not None
        except ValueError:
            raise ImageRefusedError(name, "this is not a valid web address") from None
        scheme = parts.scheme.lower()
        if scheme not in _PORTS:
            shown = scheme if scheme.isascii() and scheme else "such"
            raise ImageRefusedError(name, f"{shown} addresses are not fetched, only http and https; download it first")
        if credentials:
            raise ImageRefusedError(name, "the address holds credentials, which are not sent; download it first")
        try:
            path, query = quote(parts.path, safe=_PATH), quote(parts.query, safe=_QUERY)
        except UnicodeError:
            raise ImageRefusedError(name, "the address holds half a character") from None
        host = _plain_host(host, name, bracketed="[" in parts.netloc)
        if port == 0:
            raise ImageRefusedError(name, "the address's port is 0")
        return cls(scheme, host, port or _PORTS[scheme], path or "/", f"?{query}" if query else "")

    @property
    def authority(self) -> str:
        """Return host and, unless it is the scheme's own, port, as in a ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the whole address."""
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"

    def follow(self, location: str, *, name: str) -> "WebAddress":
        """Resolve a redirect, checked like any other address.

        Raises:
            ImageRefusedError: as for `parse`.
        """
        try:
            target = urljoin(self.url, location)
        except ValueError:
            raise ImageRefusedError(name, "it redirects to something that is not a valid web address") from None
        return WebAddress.parse(target, name=name)


def address_name(text: str, index: int | None = None) -> str:
    """Name a picture by its address, without query, fragment, credentials or inline data."""
    scheme = web_scheme(text)
    numbered = "" if index is None else f" #{index}"
    if scheme == "data":
        return f"data URL{numbered}"
    bare = re.split(r"[?#]", text, maxsplit=1)[0]
    start, slashes, rest = bare.partition("//")
    authority, slash, path = rest.partition("/")
    shown = f"{start}{slashes}{authority.rpartition('@')[2]}{slash}{path}"
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def _plain_host(host: str, name: str, *, bracketed: bool) -> str:
    host = host.lower()
    if bracketed:
        try:
            # a zone (%eth0) is valid on this machine only
            return str(ipaddress.IPv6Address(host.replace("%", "no zone")))
        except ValueError:
            raise ImageRefusedError(name, "the address's host is not a valid IPv6 address") from None
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except UnicodeError:
            raise ImageRefusedError(name, "the address's host is not a valid name") from None
    if len(host) > 253 or _HOST.fullmatch(host) is None:
        raise ImageRefusedError(name, "the address names no valid host")
    return host
