"""The client's memory does not depend on what a server sends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.process import WAIT, faulty_server

ROOT = Path(__file__).parents[3]
GROWTH = 50_000_000
"""Bytes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with faulty_server(tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("endless", "ProtocolError"),  # 1 GB of an answer
        ("bomb", "ProtocolError"),  # 1 MB that unpacks to 1 GB
        ("endless-headers", "ProtocolError"),  # 1 GB of header lines
        ("large", "ProtocolError"),  # 10 MB, as it says itself
        ("nested", "ProtocolError"),  # 400 KB of brackets
        ("503-large", "OverloadedError"),  # 10 MB of an error page
    ],
)
def test_memory_is_bounded(server, kind, expected):
    command = [sys.executable, "-m", "tests.support.greedy_client", server.base_url, kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT, check=True)
    *endings, grown = done.stdout.splitlines()
    assert endings == [expected] * 8
    assert int(grown.removeprefix("grown by ")) < GROWTH
    assert server.counts()["by_ending"][kind] == 8
