"""What the OpenAPI document says is so, tried with what Schemathesis makes of it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.process import WAIT
from tests.support.served import Served


def test_schemathesis_finds_nothing(server: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--seed", "7"]
    command += ["--max-examples", "5", "--generation-deterministic", "--no-color"]
    environment = os.environ | {"NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WAIT
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert "Traceback" not in server.log.read_text()
