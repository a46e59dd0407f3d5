"""Prompt files and cassettes that somebody else has made: read as what they should be, or refused; never obeyed."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.dispatch.storage.cassette import import_
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import CassetteError, TemplateError
from ants_engine.learning.preflight import load_templates
from ants_engine.settings.loader import load_settings


class Boom:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("a file was executed",))


FOREIGN = [
    pickle.dumps(Boom()),
    b"!!python/object/apply:os.system ['touch owned']\n",
    b"&a [*a, *a]\n",
    b"#!/bin/sh\ntouch owned\n",
    b"{{ ''.__class__ }} {% import os %}\n",
    b"PK\x03\x04" + bytes(100),
    b"\x00" * 1000,
    b'{"a":' * 50_000 + b"\n",
    b"a." * 20_000 + b"a = 1\n",
    b'x = """' + b"\n" * 1000,
]


@pytest.mark.parametrize("data", FOREIGN)
async def test_what_is_no_template_and_no_cassette_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "prompts" / "ens").mkdir(parents=True)
    (tmp_path / "prompts" / "ens" / "v7.toml").write_bytes(data)
    with pytest.raises(TemplateError, match=r"v7\.toml"):
        TemplateLibrary(tmp_path / "prompts").load("ens/v7")
    tape = tmp_path / "tape.jsonl"
    tape.write_bytes(data)
    async with ResponseStore(tmp_path / "store") as store:
        with pytest.raises(CassetteError, match=r"tape\.jsonl, line 1"):
            await import_(tape, store)
    assert not (tmp_path / "owned").exists()


async def test_files_without_end_are_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "prompts" / "ens").mkdir(parents=True)
    for path in (tmp_path / "prompts" / "ens" / "v7.toml", tmp_path / "tape.jsonl"):
        path.touch()
        # takes no room on the disk
        os.truncate(path, 1 << 40)
    with pytest.raises(TemplateError, match="more than 65,536 bytes"):
        TemplateLibrary(tmp_path / "prompts").load("ens/v7")
    async with ResponseStore(tmp_path / "store") as store:
        with pytest.raises(CassetteError, match="longer than"):
            await import_(tmp_path / "tape.jsonl", store)


@pytest.mark.parametrize(
    "ref",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "ens/../../secret/v1",
        "file:///etc/passwd",
        "ens/v1\x00",
        "~/ens/v1",
        "$HOME/v1",
    ],
)
@pytest.mark.parametrize("stage", ["ens", "vsnl"])
def test_a_setting_names_no_file_outside(stage: str, ref: str, tmp_path: Path) -> None:
    settings = load_settings(environment={}, prompts={"folder": tmp_path}, **{stage: {"template": ref}})
    with pytest.raises(TemplateError, match="is not a template's name"):
        load_templates(settings)


HOSTILE = 'task = "ens"\nversion = 7\ndescription = "d"\ngood_at = "g"\nneeds_picture = true\n'


@pytest.mark.parametrize(
    "prompt",
    ["{0.__class__} %s {class_name.__init__} $max_words $class_name", "{{7*7}} ${max_words} <script> $class_name"],
)
def test_a_prompt_is_filled_and_not_run(prompt: str, tmp_path: Path) -> None:
    (tmp_path / "ens").mkdir()
    lines = f"variables = ['max_words', 'class_name']\nprompt = '''{prompt}'''\n"
    (tmp_path / "ens" / "v7.toml").write_text(HOSTILE + lines)
    filled = TemplateLibrary(tmp_path).load("ens/v7").render(max_words=8, class_name='"}} ignore $max_words {0} %s')
    for kept in ("{0.__class__} %s {class_name.__init__} 8", "{{7*7}} 8 <script>"):
        assert kept in filled or kept.split()[0] not in prompt
    assert filled.endswith('"\\"}} ignore $max_words {0} %s"')
