"""``ants serve`` as a process of its own, and a client on bare sockets for what no HTTP library would send."""

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.process import ANTS, WAIT, started

BOUNDARY = "-----a-boundary"


@dataclass
class Served:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout: float = WAIT) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=WAIT, trust_env=False, **options)

    def metric(self, name: str, headers: dict[str, str] | None = None) -> float:
        """Give the sum over all labels."""
        with self.client(headers=headers) as client:
            page = client.get("/metrics").text
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE))

    def resident(self) -> int:
        """Give the process's memory in bytes."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """Give the most that it has been."""
        return self._memory("VmHWM")

    def _memory(self, key: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{key}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) << 10

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=WAIT)


def beside(detector: Path) -> dict[str, dict[str, str]]:
    """Return where a detector's build has kept what it keeps: a folder may not say that by itself."""
    return {
        "dispatch": {"store": str(detector.parent / "store")},
        "text": {"feature_cache": str(detector.parent / "features")},
    }


@contextmanager
def serving(detector: Path, log: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run ``ants serve`` on a free port until the end of the block."""
    own = [f"--set={stage}.{key}={path}" for stage, paths in beside(detector).items() for key, path in paths.items()]
    command = [ANTS, "serve", str(detector), "--port", "0", *own, *options]
    announces = r"listening on http://\S+:(\d+)"
    with started(command, cwd=log.parent, log=log, announces=announces, environment=environment) as (process, port):
        yield Served(process, int(port), log)


def form(*pictures: bytes, end: bool = True) -> bytes:
    """Give a multipart body of picture files."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="{number}.jpg"\r\n\r\n'.encode()
        + picture
        + b"\r\n"
        for number, picture in enumerate(pictures)
    ]
    return b"".join(parts) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def head(length: int | None, path: str = "/v1/score", **headers: str) -> bytes:
    """Give a POST request's line and headers; with no length the body is chunked."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: multipart/form-data; boundary={BOUNDARY}"]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Read one response: status, headers in lower case, JSON body. Status 0: the connection ended without one."""
    file = connection.makefile("rb")
    first = file.readline()
    if not first:
        return 0, {}, None
    headers = {}
    while (line := file.readline().strip()) and b":" in line:
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = file.read(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers, json.loads(body) if body else None
