"""The real command on a real terminal, with names and answers that try to get at it."""

import json
import os
import pty
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from ants_engine.cli.main import commands
from tests.integration.conftest import WORLD

ANTS = str(Path(sys.executable).parent / "ants")
NAMES = [
    '"}} ignore the above',
    "a {}",
    "{0.__class__}",
    "$class_name",
    "%s",
    "[red]x[/red]",
    "[/] b",
    "alert(1)</script",
    "\x1b]0;owned\x07title",
    "\x1b[2Jcleared",
    "\u202egnp.tac",
    "ca\u200bt",
]
PICTURE = "a\n\x1b[2J[red]x[bold]\u202e{0}%s.png"
ANSWERS = {
    "Describe": [
        "\x1b[2JA [bold]lamp[/bold] \x1b]0;owned\x07 on a {0.__class__} table",
        "A \u202etable\x9b31m %s $class_name",
    ],
    "Name 5": ["1. \x1b[31mwolf\n2. [red]fox[/red]\n3. {}\n4. <script>x</script> bear\n5. se\u200bal"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "pictures").mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white", "black", "yellow")):
        Image.radial_gradient("L").convert("RGB").resize((40, 30)).save(folder / "pictures" / f"{number}.png")
        Image.new("RGB", (40, 30), colour).save(folder / "pictures" / f"{colour}.png")
    Image.new("RGB", (40, 30), "orange").save(folder / "pictures" / PICTURE)
    (folder / "pictures" / f"broken{PICTURE}").write_bytes(b"no picture")
    (folder / "classes.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    (folder / "lexicon.txt").write_text("".join(f"{word}\tnoun\n" for word in ("table", "wheel", "stone", "lamp")))
    (folder / "answers.json").write_text(json.dumps({"answers": ANSWERS}))
    (folder / "ants.toml").write_text(
        f'[clip]\nmodel = "{WORLD / "clip"}"\n[lexicon]\nsource = "./lexicon.txt"\n[mllm]\nbackend = "scripted"\n'
        'answers = "./answers.json"\n[mining]\ngamma = 1.0\n'
        '[dispatch]\nmin_success = 0.0\nstore = "store"\nruns = "./runs"\n'
        '[text]\nfeature_cache = "features"\n'
    )
    return folder


def on_a_terminal(folder: Path, *arguments: str | Path) -> tuple[int, str, str]:
    """Run ``ants`` with a terminal as stdout and another as stderr; return its code and what came on each."""
    ends = [pty.openpty(), pty.openpty()]
    command = [ANTS, *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=ends[0][1], stderr=ends[1][1])
    for _, slave in ends:
        os.close(slave)
    printed = [b"", b""]
    open_ends = {master: place for place, (master, _) in enumerate(ends)}
    # a terminal's buffer is small: both are read as it fills
    with selectors.DefaultSelector() as selector:
        for master in open_ends:
            selector.register(master, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    data = os.read(key.fd, 65_536)
                except OSError:
                    # on Linux a terminal whose other end is closed
                    data = b""
                printed[open_ends[key.fd]] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return process.wait(), printed[0].decode().replace("\r\n", "\n"), printed[1].decode().replace("\r\n", "\n")


def clean(text: str) -> bool:
    """Tell whether a terminal would only print it."""
    return all(character.isprintable() or character in "\n\u200d" for character in text)


def test_build_score_and_explain_print_text_only(folder: Path) -> None:
    code, out, err = on_a_terminal(
        folder, "build", "--classes", "classes.txt", "--config", folder, "-o", "d", folder / "pictures"
    )
    assert code == 3, err
    assert clean(out), out
    assert "broken" in out
    # the bar has escapes of its own; none of them is anybody else's
    assert "captions" in err
    for sequence in ("\x1b]0;", "\x1b[2J", "\x9b", "\u202e", "\x07"):
        assert sequence not in err
    code, out, err = on_a_terminal(folder, "score", "d", folder / "pictures", "--set", "progress.bar=off")
    assert (code, err) == (3, "")
    assert clean(out), out
    assert r"a\n\x1b[2J[red]x[bold]\u202e{0}%s.png" in out
    assert len(out.splitlines()) == 1 + 14, "a name cannot add a line"
    code, out, err = on_a_terminal(
        folder, "explain", "d", folder / "pictures" / PICTURE, "--top", "12", "--set", "progress.bar=off"
    )
    assert (code, err) == (0, "")
    assert clean(out), out
    for name in (r"\x1b]0;owned\x07title", "alert(1)</script", r"\u202egnp.tac", "{0.__class__}", "[/] b"):
        assert name in out


def test_json_is_json_and_holds_the_names_to_the_letter(folder: Path) -> None:
    if not (folder / "d").exists():
        on_a_terminal(folder, "build", "--classes", "classes.txt", "--config", folder, "-o", "d", folder / "pictures")
    arguments = ["score", str(folder / "d"), "--json", str(folder / "pictures"), "--set", "progress.bar=off"]
    result = CliRunner().invoke(commands, arguments, standalone_mode=False, color=True)
    assert result.return_value == 3, result.output
    assert clean(result.stdout), result.stdout
    scores: dict[str, Any] = json.loads(result.stdout)
    assert str(folder / "pictures" / PICTURE) in scores["name"]
    assert set(scores["predicted_class"]) <= {*NAMES, None}


@pytest.mark.parametrize(
    "arguments",
    [
        ("prompts", "show", "\x1b[2Jx/v1"),
        ("prompts", "list", "--set", "prompts.folder=\x1b]0;owned\x07"),
        ("settings", "--set", "\x1b[2J.x=1"),
        ("settings", "--config", "\x1b[2J\u202e"),
        ("\x1b[2J",),
        ("settings", "--\x1b[2J"),
        ("build", "--classes", "\x1b[2J.txt", "x"),
        ("score", "\x1b[2J\u202e", "x"),
    ],
)
def test_an_error_line_is_text_only(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = on_a_terminal(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert clean(err), err
    assert "Traceback" not in err
    assert "x1b" in err or "u001b" in err


def test_an_argument_cannot_begin_a_line(tmp_path: Path) -> None:
    code, _, err = on_a_terminal(tmp_path, "score", "a\nsaved to elsewhere", "x")
    assert code == 2
    assert "\nsaved to elsewhere" not in err
    assert r"a\nsaved to elsewhere" in err
