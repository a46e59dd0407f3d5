"""Access control: the address that is listened on, the accepted Host and Origin headers, and the token."""

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ants_engine.common.text_file import read_text
from ants_engine.errors import UsageError
from ants_engine.serve.options import Refusal, ServeOptions

TOKEN_VARIABLE = "ANTS_SERVE_TOKEN"  # noqa: S105  # the name of the variable
SHORTEST_TOKEN = 16
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Access:
    """Decides about each request from its headers alone."""

    def __init__(self, options: ServeOptions) -> None:
        """Check the address and the token.

        Raises:
            UsageError: other machines could connect without a token, or the token is too short.
        """
        loopback = is_loopback(options.host)
        if options.token is not None and len(options.token) < SHORTEST_TOKEN:
            raise UsageError(f"the token has {len(options.token)} characters; {SHORTEST_TOKEN} or more are needed")
        if not loopback and options.token is None:
            raise UsageError(
                f"--host {options.host} lets other machines connect, which needs a token: set {TOKEN_VARIABLE} or give "
                "--token-file (python -c 'import secrets; print(secrets.token_urlsafe())' makes one)"
            )
        self._token = None if options.token is None else options.token.encode()
        self._hosts = frozenset(name.lower() for name in options.hosts)
        if loopback:
            # DNS rebinding: a site may point its own name at 127.0.0.1, and its requests carry that name as Host
            self._hosts |= LOOPBACK_NAMES
        self._any_host = not loopback and not options.hosts

    @property
    def wants_token(self) -> bool:
        """Whether a token is required."""
        return self._token is not None

    def check_place(self, host: str | None, origin: str | None) -> None:
        """Refuse a request for another host (DNS rebinding), or from a page of another site (CSRF).

        Args:
            host: the ``Host`` header.
            origin: the ``Origin`` header, which browsers send.

        Raises:
            Refusal: 421 or 403.
        """
        if not self._any_host and host_name(host or "") not in self._hosts:
            raise Refusal(
                421, "wrong_host", "this server does not answer to that Host; ants serve --allow-host NAME adds one"
            )
        if origin is not None and _bare(origin.partition("://")[2]) != _bare(host or ""):
            raise Refusal(403, "other_origin", "pages of other sites may not use this server")

    def check_token(self, authorization: str | None) -> None:
        """Refuse a request without the token.

        Raises:
            Refusal: 401.
        """
        if self._token is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        # in constant time
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise Refusal(401, "token_needed", "send the server's token: Authorization: Bearer …")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address or name."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header in lower case, without port and brackets; empty if malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def read_token(file: Path | None, environment: Mapping[str, str] | None = None) -> str | None:
    """Read the token from a file or the environment, never from the command line, which other users can see.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    if file is None:
        return (os.environ if environment is None else environment).get(TOKEN_VARIABLE, "").strip() or None
    try:
        token = read_text(file).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the token cannot be read ({error})") from None
    if not token:
        raise UsageError(f"{file}: there is no token in it")
    return token


def _bare(place: str) -> str:
    return place.lower().removesuffix(":80").removesuffix(":443")


def listen(options: ServeOptions) -> socket.socket:
    """Bind the address, before anything slow is loaded.

    Raises:
        UsageError: it cannot be bound, or other machines could connect without a token.
    """
    Access(options)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((options.host, options.port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {options.host}, port {options.port}: {reason}") from None
    return bound
