"""The examples, as they stand: real processes, a real server, a folder that is really being filled."""

import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docs.conftest import WORLD
from tests.docs.warm_python import WarmPython

PICTURES = WORLD / "pictures" / "images"
BENCHMARK = {"id": ("lion", "panda", "guitar"), "near": ("tiger", "banjo"), "far": ("kite",)}


@contextmanager
def serving(process: "subprocess.Popen[str]", announces: str) -> Iterator[str]:
    """Wait for a line of output, give its first group, and end the process."""
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if found := re.search(announces, line):
                yield found[1]
                break
        else:
            raise RuntimeError(f"it ended before it was ready:\n{said}")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_quickstart(warm: WarmPython, folder: Path) -> None:
    printed = warm.run("examples/quickstart.py", cwd=folder)
    assert re.search(r"\d+ sentences, \d+ look-alikes of 10 classes", printed)
    unknown, scored = map(int, re.search(r"(\d+) of (\d+) are unknown", printed).groups())  # type: ignore[union-attr]
    assert scored == 120
    assert 60 < unknown < 120, "ten of 120 concepts are known"
    assert re.search(r"unknown  \(id_score 0\.\d+ < threshold", printed)
    assert (folder / "detector" / "detector.json").is_file()


def test_replay(warm: WarmPython, folder: Path) -> None:
    printed = warm.run("examples/replay.py", "run.jsonl", cwd=folder)
    answers = len((folder / "run.jsonl").read_text().splitlines()) - 1
    assert answers > 20
    assert re.search(r"^0 asked, (\d+) replayed$", printed, re.MULTILINE)
    assert "the same bits: True" in printed


def test_evaluate(warm: WarmPython, folder: Path) -> None:
    for place, names in BENCHMARK.items():
        for name in names:
            shutil.copytree(PICTURES / place.replace("id", "emoji_world") / name, folder / "benchmark" / place / name)
    printed = warm.run("examples/evaluate.py", "benchmark", "examples/emoji_world", cwd=folder)
    rows = re.findall(
        r"^(\w+) +([\w-]+) +(openood|id_positive) +FPR95 ([\d.]+) .*AUROC ([\d.]+)", printed, re.MULTILINE
    )
    numbers = {(name, method, which): (float(fpr), float(auroc)) for name, method, which, fpr, auroc in rows}
    assert {method for _, method, _ in numbers} == {"mcm", "neglabel", "ants", "ants-union"}
    mcm, ours = numbers["nearood", "mcm", "openood"], numbers["nearood", "ants", "openood"]
    assert ours[1] > mcm[1], "ANTS is above MCM on near-OOD"
    assert numbers["nearood", "mcm", "id_positive"][1] == mcm[1], "AUROC knows no convention"


def test_own_server(warm: WarmPython, folder: Path) -> None:
    """Against the embedded model behind ``transformers serve``."""
    start = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; sys.exit(main())"
    options = ("serve", "mllm", "--host", "127.0.0.1", "--port", "0", "--device", "cpu")
    place = folder / "examples" / "emoji_world"
    server = warm.start("-c", start, *options, cwd=place, PYTHONWARNINGS="ignore")
    with serving(server, r"Uvicorn running on (http://127\.0\.0\.1:\d+)") as address:
        printed = warm.run("examples/own_server.py", f"{address}/v1", "mllm", cwd=folder)
    assert "captions: 10" in printed
    assert "15 answers asked for, 0 from the store, 0 failed" in printed
    tokens, cost = re.search(r"(\d+) prompt and \d+ completion tokens, cost ([\d.]+)", printed).groups()  # type: ignore[union-attr]
    assert float(cost) == pytest.approx(int(tokens) * 0.5 / 1e6, abs=1e-6)


def test_own_server_that_is_not_there(warm: WarmPython, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        call = ("examples/own_server.py", address, "a-model-of-nobody")
        with warm.start(*call, cwd=folder, ANTS_DISPATCH__ATTEMPTS="1") as process:
            printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "BackendUnavailableError" in printed
    assert "Traceback" not in printed


def test_watch_folder(warm: WarmPython, folder: Path) -> None:
    arriving = folder / "arriving"
    arriving.mkdir()
    with warm.start("examples/watch_folder.py", "arriving", "detector", cwd=folder) as process:
        for number, picture in enumerate(sorted(PICTURES.glob("*/*/00.jpg"))[:40]):
            shutil.copy(picture, arriving / f"{number:03}.jpg")
        (arriving / "STOP").touch()
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    batches = re.findall(r"^batch (\d+): \d+ of (\d+) unknown, (\d+) sentences$", printed, re.MULTILINE)
    assert [(int(number), int(size)) for number, size, _ in batches] == [(1, 16), (2, 16), (3, 8)]
    assert int(batches[-1][2]) > 0, "what was asked for at the first batch is in effect"
    assert (folder / "detector" / "detector.json").is_file()


def test_fastapi_app(warm: WarmPython, folder: Path) -> None:
    code = "import asyncio; from ants_engine import ANTS; asyncio.run(ANTS.build(['panda', 'banana', 'bus'], "
    warm.run("-c", code + "config='examples/emoji_world')).save('detector/')", cwd=folder)
    server = warm.start("examples/fastapi_app.py", "--port", "0", cwd=folder)
    with serving(server, r"Uvicorn running on (http://127\.0\.0\.1:\d+)") as address:
        seen = post(f"{address}/look", (PICTURES / "emoji_world" / "panda" / "05.jpg").read_bytes())
        assert set(seen) == {"known", "class", "id_score", "threshold"}
        assert seen["known"] == (seen["id_score"] >= seen["threshold"])
        assert seen["class"] in {"panda", None}
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{address}/look", b"no picture")
        refused.value.close()
    assert refused.value.code == 422


def post(address: str, content: bytes) -> dict[str, Any]:
    """Send one file as a browser's form does."""
    head = b'--line\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    request = urllib.request.Request(address, head + content + b"\r\n--line--\r\n")
    request.add_header("Content-Type", "multipart/form-data; boundary=line")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found
