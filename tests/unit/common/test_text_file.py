import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ants_engine.adapters.openood import Arguments
from ants_engine.backends.scripted import ScriptedBackend, ScriptedOptions
from ants_engine.cli.options import read_classes
from ants_engine.common.text_file import decode_text
from ants_engine.datasets.openood import find_list_folder, read_image_list
from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.lexicon.lexicon import load_lexicon
from ants_engine.report.truth import LabelBook
from ants_engine.serve.access import read_token
from ants_engine.settings.loader import load_settings

TEMPLATE = """task = "ens"
version = 9
description = "d"
good_at = "g"
needs_picture = true
variables = ["class_name", "max_words"]
prompt = "$class_name $max_words"
"""


def _template(path: Path) -> Any:
    template = TemplateLibrary(path.parent.parent).load("ens/v9")
    return template.file, template.sha256


def _scripted(path: Path) -> Any:
    return asyncio.run(ScriptedBackend(ScriptedOptions(answers=path)).identity())


def _listed(path: Path) -> Any:
    (path.parent / "test_b.txt").write_text("a.png 0\n")
    found = find_list_folder(path.parent)
    assert found is not None
    return found.classes()


READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "class file": ("classes.txt", "lion\npanda\n", lambda path: read_classes(str(path))),
    "class file of OpenOOD": (
        "c.txt", "lion\npanda\n",
        lambda path: Arguments.read({"postprocessor": {"postprocessor_args": {"id_classes": str(path)}}}),
    ),
    "classes of a benchmark": ("benchmark_imglist/b/classes.txt", "lion\npanda\n", _listed),
    "image list": (
        "list.txt", "a.png 0\nb.png 1\n", lambda path: read_image_list(path, path.parent, check_files=False)
    ),
    "lexicon": ("words.tsv", "lion\tnoun\nred\tadjective\n", lambda path: load_lexicon(str(path)).words),
    "labels of a report": (
        "labels.csv", "picture,class\na.png,lion\n",
        lambda path: LabelBook.read(path, ["lion"]).match(["a.png"]),
    ),
    "settings": ("ants.toml", "seed = 7\n", lambda path: load_settings(path, environment={}).seed),
    "prompt template": ("ens/v9.toml", TEMPLATE, _template),
    "scripted answers": (
        "answers.toml", '[answers]\n"lion" = "tiger"\n', _scripted
    ),
    "token of the server": ("token", "secret\n", read_token),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("reader", READERS)
def test_a_byte_order_mark_is_never_a_part_of_what_is_read(reader: str, encoding: str, tmp_path: Path) -> None:
    name, text, read = READERS[reader]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    plain = read(path)
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read(path) == plain


def test_a_lexicon_is_unpacked_before_its_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "words.gz"
    path.write_bytes(gzip.compress("lion\tnoun\r\n".encode("utf-16")))
    assert load_lexicon(str(path)).words == ("lion",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_and_line_ends(encoding: str) -> None:
    assert decode_text("a\r\nb\rc\n".encode(encoding)) == "a\nb\nc\n"


def test_what_is_no_text_is_refused() -> None:
    for data in (b"\xff", b"a\0b\0", "ö".encode("latin-1")):
        with pytest.raises(UnicodeDecodeError):
            decode_text(data)
