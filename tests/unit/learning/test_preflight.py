"""Everything that can be known to be wrong is found before torch is imported, a model loaded, or a question asked."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ants_engine.common.atomic_file import try_file, try_folder
from tests.support.models_server import ModelsServer, failed, listing

ROOT = Path(__file__).parents[3]
CLIP = ROOT / "examples" / "emoji_world" / "clip"

RUN_ALL = """
import contextlib, io, json, sys
from ants_engine.cli.main import main
found = []
for arguments in json.load(sys.stdin):
    sys.argv = ["ants", *arguments]
    said, code = io.StringIO(), None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code
    loaded = [name for name in ("torch", "open_clip", "transformers") if name in sys.modules]
    found.append([code, said.getvalue(), loaded])
print(json.dumps(found))
"""
"""Runs commands one after the other, and says how each ended and what was imported by then."""


def test_each_mistake_is_found_before_anything_costs_time(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "1.png")
    (tmp_path / "no_pictures").mkdir()
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "detector.json").write_text("{}")
    for name in ("empty.txt", "a_file", "notes.csv"):
        (tmp_path / name).touch()
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    for name in ("id/lion", "near/panda"):
        (tmp_path / "world" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "world" / name / "1.png")
    (tmp_path / "lexicon.txt").write_text("a line without its kind\n")
    with (
        socket.socket() as taken,
        ModelsServer(listing("qwen2-vl"), failed(404, "no such model")) as server,
        ModelsServer(failed(401, "no"), failed(401, "no")) as locked,
    ):
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        def build(
            *more: str, pictures: str = "pictures", classes: str = "lion,panda", command: str = "build"
        ) -> list[str]:
            settings = [f"clip.model={CLIP}", "mllm.backend=scripted", "dispatch.runs=null", "progress.bar=off"]
            start = [command, "--classes", classes, *(part for one in settings for part in ("--set", one))]
            return [*start, *more, pictures]

        def asking(url: str) -> tuple[str, ...]:
            chosen = ("mllm.backend=openai", "mllm.model=qwen", f"mllm.base_url={url}")
            return tuple(part for one in chosen for part in ("--set", one))

        table: list[tuple[list[str], int, str]] = [
            (build("--set", "clip.modle=x"), 2, "did you mean 'clip.model'"),
            (build(classes="empty.txt"), 2, "ClassListError"),
            (build(pictures="nowhere/"), 2, "nowhere/: no such file or folder"),
            (build(pictures="no_pictures"), 2, "no_pictures: no pictures"),
            (build(pictures="*.jpg"), 2, "no picture matches"),
            (build("gone_1.jpg", pictures="gone_2.jpg"), 2, "none of the 2 files"),
            (build("--list", "notes.csv"), 2, "which of its columns"),
            (build("--list", "nowhere.txt"), 2, "does not exist"),
            (build("--list-column", "path"), 2, "--list"),
            (build("--column", "name"), 2, "--classes is no file"),
            (build("-o", "a_file"), 2, "a_file: cannot be written"),
            (build("-o", "a_file/below"), 2, "a_file/below: cannot be written"),
            (build("-o", "/proc/detector"), 2, "/proc/detector: cannot be written"),
            (build("--set", "ens.template=ens/v999"), 2, "no prompt template ens/v999"),
            (build("--set", "prompts.folder=nowhere"), 2, "no such folder of prompt templates"),
            (build("--set", "lexicon.source=./nowhere.txt"), 2, "no lexicon at"),
            (build("--set", "lexicon.source=./lexicon.txt"), 2, "line 1"),
            (build("--set", "clip.model=./nowhere"), 2, "there is no such folder"),
            (build("--set", "clip.model=./no_pictures"), 2, "has no open_clip_config.json"),
            (build("--set", "clip.model=ViT-B-32", "--set", "clip.pretrained=./w.pt"), 2, "is no file"),
            (build("--set", "mllm.backend=scritped"), 2, "did you mean scripted"),
            (build("--set", "mllm.answers=./nowhere.json"), 2, "nowhere.json cannot be read"),
            (build("--set", "mllm.backend=huggingface", "--set", "mllm.model=./nowhere"), 2, "no model folder"),
            (build("--set", "mllm.backend=huggingface", "--set", "mllm.model=./no_pictures"), 2, "no config.json"),
            (build(*asking(closed)), 1, "BackendUnavailableError"),
            (build(*asking(server.url)), 1, "did you mean qwen2-vl?"),
            (build(*asking(locked.url)), 1, "AuthenticationError"),
            (build(command="replay"), 1, "no response store is there"),
            (["score", "no_pictures", "pictures"], 2, "no detector.json"),
            (["score", "detector", "nowhere"], 2, "no such file or folder"),
            (["score", "detector"], 2, "name files, folders"),
            (["score", "detector", "pictures", "--set", "clip.modle=x"], 2, "did you mean 'clip.model'"),
            (["explain", "no_pictures", "x.png"], 2, "no detector.json"),
            (["explain", "detector", "x.png"], 2, "x.png: no such file"),
            (["explain", "detector", "pictures"], 2, "pictures: is a folder"),
            (["stream", "no_pictures", "pictures"], 2, "no detector.json"),
            (["stream", "detector", "nowhere"], 2, "no such file or folder"),
            (["stream", "detector", "pictures", "-o", "a_file"], 2, "a_file: cannot be written"),
            (["report", "detector", "nowhere"], 2, "no such file or folder"),
            (["report", "detector", "pictures", "-o", "a_file/page.html"], 2, "a_file/page.html: cannot be written"),
            (["report", "detector", "pictures", "-o", "pictures"], 2, "pictures: cannot be written: it is a folder"),
            (["eval", "no_pictures"], 2, "no benchmark in it"),
            (["eval", "world", "--methods", "mmc"], 2, "did you mean mcm?"),
            (["eval", "world", "--methods", "mcm", "--seeds", "0,0"], 2, "each seed once"),
            (["eval", "world", "--methods", "mcm", "--prevalence", "0.9"], 2, "leaves"),
            (["eval", "world", "--methods", "mcm", "--set", "clip.model=./nowhere"], 2, "there is no such folder"),
            (["eval", "world", "--out", "a_file"], 2, "a_file"),
            (["store", "export", "a_file/cassette", "--set", "dispatch.store=x"], 1, "cannot be written"),
            (["serve", "no_pictures", "--port", "0"], 2, "no detector.json"),
            (["serve", "detector", "--streams", "1", "--streams-folder", "a_file/x"], 2, "cannot be written"),
        ]  # fmt: skip
        there = sorted(path.name for path in tmp_path.rglob("*"))
        ended = subprocess.run(
            [sys.executable, "-c", RUN_ALL],
            input=json.dumps([arguments for arguments, _, _ in table]),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "OPENAI_API_KEY": "a-key", "COLUMNS": "200"},
        )
    assert ended.returncode == 0, ended.stderr
    for (arguments, code, said), (found_code, found, loaded) in zip(table, json.loads(ended.stdout), strict=True):
        assert said in found, (arguments, found)
        assert found_code == code, (arguments, found)
        assert not loaded, arguments
        assert "Traceback" not in found
    pictures_shown = [body for body in server.asked if isinstance(body["messages"][0]["content"], list)]
    assert (len(server.asked), pictures_shown) == (1, []), "one token, to see whether the list is whole"
    assert sorted(path.name for path in tmp_path.rglob("*")) == there, "nothing is left behind"


def test_trying_to_write_leaves_nothing_and_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "detector.json").write_text("kept")
    for folder in (tmp_path / "new" / "below", tmp_path / "old", tmp_path):
        try_folder(folder)
    try_file(tmp_path / "new" / "page.html")
    try_file(tmp_path / "old" / "detector.json")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["old", "old/detector.json"]
    assert (tmp_path / "old" / "detector.json").read_text() == "kept"


def test_a_disk_that_takes_no_bytes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # /dev/full is a disk without room: the write itself has to be tried
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": real(Path("/dev/full"), "r+b", buffering=0))
    with pytest.raises(OSError, match="No space left"):
        try_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_that_try_one_new_folder_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tidied = Path.open, []

    def opened(path: Path, *arguments: Any) -> Any:
        if not tidied:
            # another process has found the folder empty, and removes what it believes to be its own
            path.parent.rmdir()
            tidied.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", opened)
    try_folder(tmp_path / "new")
    assert tidied
    assert not (tmp_path / "new").exists()
