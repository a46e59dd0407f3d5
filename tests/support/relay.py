"""A relay on loopback between a browser and a server that answers each connection once; it can drop all connections."""

import contextlib
import socket
import threading


class Relay:
    """Passes a request on under the server's own address, and its answer back, until told to drop it."""

    def __init__(self, port: int) -> None:
        """Listen at a free port, for a server at ``port`` of 127.0.0.1."""
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self.passed = 0
        """Connections so far."""
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Break every connection."""
        for one in tuple(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break every connection, and take no other."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            self._open.add(near)
            head = b""
            while b"\r\n\r\n" not in head:
                more = near.recv(65536)
                if not more:
                    return
                head += more
            with socket.create_connection(("127.0.0.1", self._port)) as far:
                self._open.add(far)
                self.passed += 1
                far.sendall(head.replace(f":{self.port}".encode(), f":{self._port}".encode()))
                while more := far.recv(65536):
                    near.sendall(more)
            self._open.discard(far)
        self._open.discard(near)
