import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from ants_engine import ANTS
from ants_engine.cli.main import commands, main
from ants_engine.errors import ClassListError, SettingError
from tests.integration.conftest import CLASSES, OBJECTS, WORLD


@pytest.fixture
def folder(tmp_path: Path, images: list[Image.Image], settings: dict[str, Any]) -> Path:
    """A user's folder: pictures, classes.txt, ants.toml with a scripted MLLM."""
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(images[:24]):
        image.save(tmp_path / "pictures" / f"{number:02}.png")
    (tmp_path / "classes.txt").write_text("# known\n" + "\n".join(CLASSES) + "\n")
    answers = {"Describe": [f"A {one} and a {other}" for one in OBJECTS for other in OBJECTS[:2]]}
    answers["Name 5"] = ["wolf, fox, bear, seal, lynx", "boat, ship, canoe, raft, kayak", "plum, pear, fig, lime, kiwi"]
    (tmp_path / "answers.json").write_text(json.dumps({"answers": answers}))
    (tmp_path / "ants.toml").write_text(
        f'[clip]\nmodel = "{WORLD / "clip"}"\n[lexicon]\nsource = "./lexicon.txt"\n[mllm]\nbackend = "scripted"\n'
        'answers = "./answers.json"\n[mining]\ngamma = 1.0\n[dispatch]\nstore = "store"\n'
        '[text]\nfeature_cache = "features"\n'
    )
    return tmp_path


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(commands, [str(each) for each in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return result.stdout


def tensors(folder: Path) -> tuple[str, bytes]:
    (found,) = folder.glob("tensors-*.safetensors")
    return found.name, found.read_bytes()


def test_build_score_explain_replay_and_cassette(folder: Path) -> None:
    common = ["--classes", folder / "classes.txt", "--config", folder]
    built = json.loads(run("build", *common, "-o", folder / "d", "--json", folder / "pictures"))
    assert (built["pictures"], built["negative_images"], built["from_store"]) == (24, 12, 0)
    scores = json.loads(run("score", folder / "d", "--json", folder / "pictures"))
    assert len(scores["id_score"]) == 24
    table = run("score", folder / "d", folder / "pictures" / "00.png")
    assert "00.png" in table
    assert f"{scores['id_score'][0]:.3f}" in table
    why = json.loads(run("explain", folder / "d", folder / "pictures" / "00.png", "--json", "--top", "1"))
    assert {near["kind"] for near in why["negatives"]} == {"ens", "vsnl", "neglabel"}
    (folder / "answers.json").rename(folder / "gone.json")
    run("replay", *common, "-o", folder / "again", folder / "pictures")
    assert tensors(folder / "again") == tensors(folder / "d")

    assert "16 answers" in run("store", "stats", "--config", folder)
    assert "16 answers" in run("store", "export", folder / "run.jsonl", "--config", folder)
    elsewhere = ["--set", f"dispatch.store={folder / 'other'}"]
    run("store", "import", folder / "run.jsonl", "--config", folder, *elsewhere)
    run("replay", *common, *elsewhere, "-o", folder / "third", folder / "pictures")
    assert tensors(folder / "third") == tensors(folder / "d")


def test_build_says_which_classes_it_read_before_anything_else(folder: Path) -> None:
    (folder / "classes.csv").write_bytes(b"\xef\xbb\xbfid,name\r\n0,lion\r\n1,panda\r\n")
    common = ["--classes", folder / "classes.csv", "--config", folder]
    with pytest.raises(ClassListError, match="--column name"):
        run("build", *common)
    assert run("build", *common, "--column", "name").startswith("2 classes: lion, panda\n")
    result = CliRunner().invoke(
        commands, [str(each) for each in ("build", *common, "--column", "2", "--json")], standalone_mode=False
    )
    assert result.stderr.startswith("2 classes: lion, panda\n")
    assert json.loads(result.stdout)["pictures"] == 0


def test_pictures_that_cannot_be_read_are_told_by_the_exit_code(folder: Path) -> None:
    (folder / "pictures" / "bad.png").write_bytes(b"no picture")
    common = ["--classes", ",".join(CLASSES), "--config", folder]
    assert "bad.png" in run("build", *common, "-o", folder / "d", folder / "pictures", code=3)
    assert "unreadable" in run("score", folder / "d", folder / "pictures", code=3)
    found = json.loads(run("score", folder / "d", "--json", folder / "pictures", code=3))
    row = found["verdict"].index("unreadable")
    assert (found["is_outlier"][row], found["id_score"][row]) == (None, None)
    assert found["verdict"].count("unknown") == found["is_outlier"].count(True)
    table = run("score", folder / "d", folder / "pictures", code=3)
    assert sum(" unknown " in line for line in table.splitlines()) == found["verdict"].count("unknown") > 0


def test_set_changes_a_saved_detector_or_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    picture = folder / "pictures" / "00.png"
    asyncio.run(ANTS.build(CLASSES, config=folder)).save("d")
    before = json.loads(run("score", "d", picture, "--json"))
    after = json.loads(run("score", "d", picture, "--json", "--set", "scoring.temperature=0.5"))
    assert before["id_score"] != after["id_score"]
    assert json.loads(run("score", "d", picture, "--json", "--set", "scoring.threshold=1.01"))["verdict"] == ["unknown"]
    for command in ("score", "explain", "stream", "report"):
        for setting, said in (
            ("neglabel.count=5", "Build again"),
            ("scoring.threshold=7", r"scoring\.threshold"),
            ("scoring.threshold=NaN", r"scoring\.threshold"),
        ):
            with pytest.raises(SettingError, match=said):
                run(command, "d", picture, "--set", setting)
    idle = CliRunner().invoke(commands, ["score", "d", str(picture), "--set", "mining.eta=0.2"])
    assert "only streams use mining.eta" in idle.stderr


def test_many_folders_lists_and_what_is_left_out(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
    for number in range(3):
        (folder / "pictures" / f"0{number}.png").rename(folder / "a" / f"picture{number}")
    (folder / "pictures" / "03.png").rename(folder / "b" / "03.png")
    for name in ("labels.json", "notes.txt", "LICENSE"):
        (folder / "b" / name).write_text("words")
    (folder / "table.csv").write_text("label,path\n1,b/03.png\n2,pictures/04.png\n1,b/03.png\n")
    run("build", "--classes", folder / "classes.txt", "--config", folder, "-o", folder / "d")
    mix = [folder / "a", f"{folder}/b/*", folder / "pictures" / "05.png", "--list", folder / "table.csv"]
    result = CliRunner().invoke(commands, ["score", str(folder / "d"), "--json", *map(str, mix)])
    scores = json.loads(result.stdout)
    names = [Path(name).relative_to(folder).as_posix() for name in scores["name"]]
    expected = ["a/picture0", "a/picture1", "a/picture2", "b/03.png", "pictures/05.png"]
    assert names == [*expected, "b/03.png", "pictures/04.png", "b/03.png"]
    assert result.stderr == "left out 3 files that are not pictures: 1 × .json, 1 × .txt, 1 × no ending\n"
    assert scores["left_out"] == {".json": 1, ".txt": 1, "no ending": 1}
    assert scores["id_score"][3] == scores["id_score"][5] == scores["id_score"][7]
    built = run("build", "--classes", folder / "classes.txt", "--config", folder, folder / "a", folder / "b")
    assert "note: left out 3 files" in built
    # a part that is not mounted: everything else is scored, and the exit code says so
    (folder / "b" / "part2").symlink_to(folder / "not_mounted")
    assert "part2: no such file" in run("score", folder / "d", folder / "b", code=3)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", ".", "x.png"], 2, "DetectorFolderError"),
        (["build", "--classes", "a,a", "x"], 2, "same as"),
        (["build", "--classes", "a", "--set", "clip.modle=x", "x"], 2, "did you mean 'clip.model'"),
        (["build", "--classes", "a", "--set", "nonsense", "x"], 2, "write KEY=VALUE"),
        (["build", "--classes", "missing.txt", "x"], 2, "no such file"),
        (["build", "--classes", "lion elephant panda", "x"], 2, "for 3 classes"),
        (["build", "--classes", ".", "x"], 2, "a folder"),
        (["build", "--classes", "lion", "--column", "name", "x"], 2, "--classes is no file"),
        (["build", "--classes", "lion " * 100, "x"], 2, "NoImagesError"),
        (["prompts", "show", "ens/v999"], 2, "TemplateError"),
        (["store", "stats", "--set", "dispatch.store=nowhere"], 1, "StoreUnavailableError"),
        (["demo", "."], 2, "ants.toml"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_end_with_one_line_and_a_code(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ants", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_settings_prompts_and_backends_are_listed(folder: Path) -> None:
    assert json.loads(run("settings", "--config", folder, "--set", "seed=3"))["seed"] == 3
    assert "ens/v1" in run("prompts", "list")
    assert "$class_name" in run("prompts", "show", "ens/v1")
    assert set(json.loads(run("backends", "--json"))) >= {"huggingface", "openai", "scripted"}


def test_neither_help_nor_import_loads_torch() -> None:
    probe = (
        "import sys; import ants_engine, ants_engine.cli; ants_engine.Settings; heavy = {'torch', 'open_clip', "
        "'transformers', 'PIL', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
