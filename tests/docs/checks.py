"""What is checked of every block, whether it can run here or not: syntax, options of ``ants``, names of settings."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import click
from pydantic import BaseModel, ValidationError

from ants_engine.cli.main import commands
from ants_engine.cli.options import assigned
from ants_engine.dispatch.prompt_template import TemplateFile
from ants_engine.errors import SettingError
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import FOREIGN_VARIABLES, load_settings
from tests.docs.blocks import Block

_VARIABLE = re.compile(r"\bANTS_([A-Z][A-Z0-9_]*)\b")
_SETTING = re.compile(r"([a-z]+(?:\.[a-z_]+)+)(?:\s*=.*)?")
OPTIONS: dict[str, type[BaseModel]] = {
    entry.name: entry.load().Options
    for entry in entry_points(group="ants_engine.backends")
    if entry.value.startswith("ants_engine.")
}


def problems(block: Block) -> Iterator[str]:
    """Say what is wrong with a block that is not run, or cannot be."""
    if block.language == "python":
        try:
            compile(block.code, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            yield str(error)
    elif block.language == "sh":
        yield from _shell(block.code)
    elif block.language == "toml":
        yield from _toml(block.code)
    elif block.language == "json":
        try:
            json.loads(block.code)
        except ValueError as error:
            yield str(error)
    for variable in _VARIABLE.findall(block.code):
        if f"ANTS_{variable}" not in FOREIGN_VARIABLES and not is_setting(variable.lower().split("__")):
            yield f"ANTS_{variable} names no setting"


def settings_in(text: str) -> Iterator[str]:
    """Give what looks like a setting in the inline code of a page, such as ``mining.eta``."""
    stages = {name for name, field in Settings.model_fields.items() if isinstance(field.annotation, type)}
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        found = _SETTING.fullmatch(code)
        *_, last = found[1].split(".") if found else [""]
        if found and found[1].split(".")[0] in stages and last not in {"py", "toml", "txt"}:
            yield found[1]


def is_setting(path: list[str]) -> bool:
    """Whether there is a setting of that name; below ``mllm`` those of all backends count."""
    if path[0] == "mllm" and len(path) > 1:
        return any(
            path[1] in model.model_fields for model in (Settings.model_fields["mllm"].annotation, *OPTIONS.values())
        )
    model: Any = Settings
    for name in path:
        fields = getattr(model, "model_fields", {})
        if name not in fields:
            return False
        model = fields[name].annotation
    return True


def _toml(code: str) -> Iterator[str]:
    try:
        found = tomllib.loads(code)
        if "task" in found:
            TemplateFile.model_validate(found)
        elif set(found) <= set(Settings.model_fields):
            _settings(found)
    except (tomllib.TOMLDecodeError, SettingError, ValidationError) as error:
        yield str(error)


def _settings(given: dict[str, Any]) -> None:
    settings = load_settings(given, environment={})
    if "mllm" in given:
        own = settings.mllm.model_dump(exclude=set(type(settings.mllm).model_fields))
        if settings.mllm.backend in OPTIONS and own:
            OPTIONS[settings.mllm.backend].model_validate(own)


def _shell(code: str) -> Iterator[str]:
    checked = subprocess.run(["bash", "-n", "-c", code], capture_output=True, text=True, check=False)
    if checked.returncode:
        yield checked.stderr.strip()
        return
    for words in _commands(code):
        if words[:1] == ["ants"]:
            yield from _ants(words[1:])


def _commands(code: str) -> Iterator[list[str]]:
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word and set(word) <= set("|&;<>()"):
                yield words
                words = []
            # VARIABLE=value before a command
            elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                words.append(word)
        yield words


def _ants(arguments: list[str]) -> Iterator[str]:
    command: click.Command = commands
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        found = command.commands.get(name)
        if found is None:
            yield f"there is no command `ants {name}`"
            return
        command = found
    context = click.Context(command)
    try:
        values, _, _ = command.make_parser(context).parse_args(list(arguments))
        _settings(assigned(tuple(values.get("assignments") or ())))
    except (click.UsageError, SettingError, ValidationError) as error:
        yield f"ants {command.name}: {error.format_message() if isinstance(error, click.UsageError) else error}"
