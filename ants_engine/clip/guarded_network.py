"""A network for fetching pictures: names are resolved once, every address is checked, and all has to end in time."""

import socket
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpcore2

from ants_engine.clip.network_place import is_public
from ants_engine.errors import ImageRefusedError

if TYPE_CHECKING:
    import ssl


class Deadline:
    """A point in time by which everything has to be done."""

    def __init__(self, seconds: float) -> None:
        """Begin now."""
        self.seconds = seconds
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
    """Connects to the addresses that it has checked, so that a name cannot mean one thing now and another later."""

    def __init__(self, name: str, named_hosts: Iterable[str], deadline: Deadline) -> None:
        """Prepare.

        Args:
            name: what the picture is called in errors.
            named_hosts: hosts that may be anywhere, also on this machine or in a private network.
            deadline: for resolving, connecting, and every byte after.
        """
        self._name = name
        self._named = {host.strip("[]").rstrip(".").lower() for host in named_hosts}
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
            ImageRefusedError: an address of the host is not public, and the host is not named in the settings.
            httpcore2.ConnectError: none of the addresses can be reached, or there are none.
        """
        addresses = self._resolve(host, port)
        if host.rstrip(".").lower() not in self._named and not all(map(is_public, addresses)):
            # one such address is enough: a public one beside it would be chosen or not by chance
            raise ImageRefusedError(
                self._name,
                f"{host} is on this machine or in a private network; name the host in pictures.url_hosts to allow it",
            )
        failure: Exception = httpcore2.ConnectError("no address")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    address, port, self._deadline.left(), local_address, socket_options or ()
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _resolve(self, host: str, port: int) -> list[str]:
        """Ask for a host's addresses. The system's resolver knows no time limit, so it gets a thread of its own."""
        found: list[str] = []
        failed: list[OSError | UnicodeError] = []

        def ask() -> None:
            try:
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
            except (OSError, UnicodeError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask, name="ants-resolve", daemon=True)
        thread.start()
        thread.join(self._deadline.left())
        if failed or not found:
            # raises if the time is up
            self._deadline.left()
            raise httpcore2.ConnectError("the host has no address")
        return found


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose every step has to fit into what is left of the time."""

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
        self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
