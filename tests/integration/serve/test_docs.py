"""The blocks of docs/serving.md that need a running server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of
from tests.integration.conftest import ROOT
from tests.integration.serve.conftest import PICTURES
from tests.support.process import WAIT
from tests.support.served import Served


def blocks() -> list[tuple[str, str]]:
    here = "tests/integration/serve/test_docs.py"
    return [(one.language, one.code) for one in blocks_of(ROOT / "docs" / "serving.md") if one.run_by == here]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, picture in (("one", "emoji_world/panda/05.jpg"), ("two", "far/santa_claus/05.jpg")):
        shutil.copy(PICTURES / picture, tmp_path / f"{name}.jpg")
    return tmp_path


@pytest.mark.parametrize("number", range(3))
def test_a_block_does_what_the_page_says(number: int, server: Served, folder: Path) -> None:
    language, code = blocks()[number]
    assert len(blocks()) == 3
    code = code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is missing")
    command = ["sh", "-e", "-c", code] if language == "sh" else [sys.executable, "-c", code]
    ran = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True, timeout=WAIT)
    if language == "python":
        assert len(ran.stdout.splitlines()) == 2
        assert "one.jpg" in ran.stdout
        return
    decoder, answers, rest = json.JSONDecoder(), [], ran.stdout
    while rest.strip():
        answer, end = decoder.raw_decode(rest.strip())
        answers.append(answer)
        rest = rest.strip()[end:]
    kinds = [next(iter(answer)) for answer in answers]
    # that server has no folder for streams
    assert kinds == (["results", "results", "classes"] if number == 0 else ["results", "name", "error"])
