"""Start a server as a process of its own and stop it again."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server."""

    base_url: str
    """``http://127.0.0.1:<port>/v1``."""
    model: str
    """The name under which it knows its model."""


ANTS = str(Path(sys.executable).parent / "ants")
WAIT = 600.0
"""Seconds for what takes a few where a machine is idle: it may have ten times as much to do."""


@contextmanager
def running(command: Sequence[str], *, cwd: Path, log: Path, announces: str, timeout: float = WAIT) -> Iterator[str]:
    """Run a command; give what the first group of ``announces`` matches in its output; terminate it at the end."""
    with started(command, cwd=cwd, log=log, announces=announces, timeout=timeout) as (_, said):
        yield said


@contextmanager
def started(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    announces: str,
    timeout: float = WAIT,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """As `running`; give the process too."""
    whole = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"} | dict(environment or {})
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, env=whole, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process, wait_for(log, announces, process, timeout)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(log: Path, announces: str, process: "subprocess.Popen[bytes]", timeout: float = WAIT) -> str:
    """Wait until the first group of ``announces`` matches in a process's output, and give it."""
    deadline = time.monotonic() + timeout
    while True:
        said = log.read_text(errors="replace")
        if found := re.search(announces, said):
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start (exit {process.poll()}):\n{said[-3000:]}")
        time.sleep(0.05)


def free_port() -> int:
    """Find a port of the loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[Server]:
    """Run ``transformers serve`` with a model folder, on a free port of the loopback.

    It is started beside the folder, so that the model's name, which requests have to repeat to the letter, is the
    folder's name and no path.
    """
    command = [
        str(Path(sys.executable).parent / "transformers"),
        *("serve", folder.name, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"),
    ]
    with running(
        command, cwd=folder.parent, log=log, announces=r"Uvicorn running on http://127\.0\.0\.1:(\d+)"
    ) as port:
        yield Server(base_url=f"http://127.0.0.1:{port}/v1", model=folder.name)


class FaultyServer(Server):
    """A running ``tests/integration/faulty_server.py``."""

    def counts(self) -> dict[str, Any]:
        """Tell what has reached it."""
        counts: dict[str, Any] = self._call("counts")
        return counts

    def attempts(self, question: str) -> int:
        """Tell how often a question has come in."""
        found: int = self.counts()["questions"].get(question, {}).get("attempts", 0)
        return found

    def last(self) -> dict[str, Any]:
        """Give the headers and the body of the last question."""
        last: dict[str, Any] = self._call("last")
        return last

    def reset(self) -> None:
        """Set all that back."""
        self._call("reset", b"")

    def hold(self) -> None:
        """Answer no question from now on."""
        self._call("hold", b"")

    def release(self) -> None:
        """Answer again, those that have come in meanwhile first."""
        self._call("release", b"")

    def _call(self, path: str, data: bytes | None = None) -> Any:
        # no proxy of the environment, and no question about the certificate: this is our own server
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"{self.base_url.removesuffix('/v1')}/{path}", data, timeout=WAIT) as response:
            return json.load(response)


@contextmanager
def faulty_server(log: Path, *options: str) -> Iterator[FaultyServer]:
    """Run the faulty server with these options."""
    command = [sys.executable, "-m", "tests.integration.faulty_server", *options]
    scheme = "https" if "--tls" in options else "http"
    with running(command, cwd=Path(__file__).parents[2], log=log, announces=r"listening on (\d+)") as port:
        yield FaultyServer(base_url=f"{scheme}://127.0.0.1:{port}/v1", model="tiny")


@contextmanager
def picture_server(log: Path) -> Iterator[str]:
    """Run the server of pictures of this folder; give ``127.0.0.1:<port>``."""
    command = [sys.executable, str(Path(__file__).with_name("picture_server.py"))]
    with running(command, cwd=log.parent, log=log, announces=r"listening on (\d+)") as port:
        yield f"127.0.0.1:{port}"
