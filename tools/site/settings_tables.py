"""MkDocs hook: ``<!-- settings -->`` in a page becomes tables of all settings, read from the models themselves."""

import inspect
import json
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ants_engine.settings.config import PRESETS, Settings

MARK = "<!-- settings -->"
PRESET_MARK = "<!-- preset reference -->"
_BOUNDS = {"minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}", "minLength": "not empty"}


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Put the tables in the markers' place."""
    if MARK in markdown:
        markdown = markdown.replace(MARK, settings_tables())
    return markdown.replace(PRESET_MARK, preset_table("reference"))


def preset_table(name: str) -> str:
    """Return what a preset sets apart from the defaults."""
    lines = ["| setting | default | `reference` |", "|---|---|---|"]
    defaults = Settings().model_dump()
    for stage, values in PRESETS[name].items():
        lines += [
            f"| `{stage}.{key}` | {_default(defaults[stage][key])} | {_default(value)} |"
            for key, value in values.items()
        ]
    return "\n".join(lines)


def settings_tables() -> str:
    """Return a heading and a table per stage, and per backend one of its own ``mllm`` keys."""
    tables = [_table("Of the whole", Settings, "")]
    for name, model in _stages(Settings):
        tables += _stage(model, name)
        if name == "mllm":
            tables += _backends()
    return "\n\n".join(tables)


def _stage(model: type[BaseModel], prefix: str) -> Iterator[str]:
    yield _table(f"`{prefix}`", model, f"{prefix}.")
    for name, inner in _stages(model):
        yield from _stage(inner, f"{prefix}.{name}")


def _stages(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _backends() -> Iterator[str]:
    for entry in sorted(entry_points(group="ants_engine.backends"), key=lambda entry: entry.name):
        # another package that is installed here is not in everybody's
        if entry.value.startswith("ants_engine."):
            yield _table(f'`mllm`, with `backend = "{entry.name}"`', entry.load().Options, "mllm.")


def _table(heading: str, model: type[BaseModel], prefix: str) -> str:
    told, schema, stages = _told(model), model.model_json_schema(), dict(_stages(model))
    lines = [f"### {heading}", "", inspect.cleandoc(model.__doc__ or "").partition("\n")[0], ""]
    lines += ["| setting | default | values | what it is |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in stages:
            continue
        if not told.get(name):
            raise ValueError(f"{model.__name__}.{name} has no docstring: the page of settings shows it")
        cells = [f"`{prefix}{name}`", _default(field.get_default(call_default_factory=True))]
        cells += [_values(schema["properties"][name], schema), told[name]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _told(model: type[BaseModel]) -> dict[str, str]:
    """Return each field's docstring from the source: pydantic does not keep it."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            for name, member in _source(cls.__module__).classes[cls.__name__].attributes.items():
                if member.docstring:
                    found[name] = " ".join(member.docstring.value.split()).replace("``", "`")
    return found


_SOURCES: dict[str, griffe.Module] = {}


def _source(module: str) -> griffe.Module:
    if module not in _SOURCES:
        file = Path(str(sys.modules[module].__file__))
        _SOURCES[module] = griffe.visit(module, filepath=file, code=file.read_text(encoding="utf-8"))
    return _SOURCES[module]


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "has to be given"
    if value is None:
        return "empty"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value, default=str)}`"


def _values(schema: dict[str, Any], whole: dict[str, Any]) -> str:
    """Say in words what pydantic takes."""
    if "$ref" in schema:
        return _values(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        kinds = [
            kind for kind in schema["anyOf"] if "$ref" not in kind or kind["$ref"].rpartition("/")[2] != "JsonValue"
        ]
        return " or ".join(dict.fromkeys(_values(kind, whole) for kind in kinds))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values)
    words = {"null": "empty", "string": "text", "boolean": "`true`, `false`", "array": "list", "object": "table"}
    kind = str(schema.get("type", "anything"))
    found = "path" if schema.get("format") == "path" else words.get(kind, kind)
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return ", ".join([found, *bounds])
