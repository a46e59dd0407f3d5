"""The README's ten lines, as they stand, on the embedded world."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, WORLD
from tests.support.process import WAIT, transformers_serve


def block(mark: str) -> str:
    pattern = rf"<!-- {mark}:.*?```python\n(.*?)```"
    found = re.search(pattern, (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert found, f"the README lost its block: {mark}"
    return found[1]


def ten_lines() -> str:
    return block("ten lines")


def run(store: Path, code: str | None = None, **settings: str) -> str:
    environment = {**os.environ, "ANTS_DISPATCH__STORE": str(store), "ANTS_TEXT__FEATURE_CACHE": "null", **settings}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code or ten_lines()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(printed: str) -> None:
    panda, santa, *why = printed.splitlines()
    assert re.search(r"panda/05\.jpg panda 0\.\d+", panda)
    assert re.search(r"santa_claus/05\.jpg unknown 0\.\d+", santa)
    assert any(line.split()[1] == "ens" for line in why[1:]), "the explanation names a sentence"


def test_they_are_about_ten() -> None:
    assert len([line for line in ten_lines().splitlines() if line.strip()]) <= 12


def test_with_the_huggingface_backend(tmp_path: Path) -> None:
    printed = run(tmp_path / "store")
    check(printed)
    assert run(tmp_path / "store", ANTS_DISPATCH__MODE="replay") == printed


def test_the_stream(tmp_path: Path) -> None:
    code = block("stream").replace('"adapted/"', repr(str(tmp_path / "adapted")))
    first, *more = run(tmp_path / "store", code).splitlines()
    assert re.fullmatch(r"batch 1: \d+ of 64 unknown, 0 sentences", first), "with a lag of 1 nothing is in effect yet"
    assert [line.split()[1] for line in more] == ["2:", "3:", "4:"]
    assert int(more[-1].split()[-2]) > 20
    assert (tmp_path / "adapted" / "detector.json").is_file()


def test_with_the_openai_backend_against_a_real_server(tmp_path: Path) -> None:
    with transformers_serve(WORLD / "mllm", tmp_path / "serve.log") as server:
        asked = {
            "ANTS_MLLM__BACKEND": "openai",
            "ANTS_MLLM__BASE_URL": server.base_url,
            "ANTS_MLLM__MODEL": server.model,
        }
        printed = run(tmp_path / "store", **asked)
    check(printed)
    assert run(tmp_path / "store", ANTS_DISPATCH__MODE="replay", **asked) == printed


def test_a_replay_needs_neither_network_nor_model(tmp_path: Path) -> None:
    """In an empty network namespace and with the MLLM's folder renamed away, the bits are the same."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test make a network namespace")
    world = tmp_path / "world"
    world.mkdir()
    for name in ("clip", "mllm", "lexicon.txt"):
        (world / name).symlink_to(WORLD / name)
    (world / "ants.toml").write_bytes((WORLD / "ants.toml").read_bytes())
    classes, pictures = "lion,banana,bus,guitar", str(WORLD / "pictures" / "images" / "*" / "*" / "00.jpg")
    ants = str(Path(sys.executable).parent / "ants")
    common = ["--classes", classes, "--config", str(world)]
    subprocess.run([ants, "build", *common, "-o", str(tmp_path / "first"), pictures], check=True, capture_output=True)
    (world / "mllm").rename(world / "mllm-renamed-away")
    replay = ["unshare", "-rn", ants, "replay", *common, "-o", str(tmp_path / "again"), pictures]
    done = subprocess.run(replay, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # banks, features, weight and threshold; only the report's timings may differ
    first, again = (json.loads((tmp_path / name / "detector.json").read_text()) for name in ("first", "again"))
    for part in ("banks", "weight", "threshold", "temperature", "tensors_sha256"):
        assert first[part] == again[part]
    assert again["report"]["asked"] == 0
