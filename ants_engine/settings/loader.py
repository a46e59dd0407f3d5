"""Merges the sources of settings: keywords over environment over ``ants.toml`` over the preset."""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ants_engine.common.text_file import expand_home, read_text
from ants_engine.errors import SettingError
from ants_engine.settings.config import PRESETS, Settings

ENVIRONMENT_PREFIX = "ANTS_"
# used by ANTs, the medical image registration toolkit, and by `ants serve`
FOREIGN_VARIABLES = frozenset({"ANTS_RANDOM_SEED", "ANTS_SERVE_TOKEN"})
PATH_FIELDS = frozenset(
    {
        "dispatch.store",
        "dispatch.runs",
        "prompts.folder",
        "clip.cache_dir",
        "clip.feature_store",
        "text.feature_cache",
    }
)


def load_settings(
    config: str | Path | Mapping[str, Any] | Settings | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    **keywords: Any,
) -> Settings:
    """Return validated settings.

    Args:
        config: an ``ants.toml``, its folder, a nested mapping, or finished settings (which the environment no longer
            overrides).
        environment: defaults to the process environment; ``ANTS_CLIP__MODEL=…`` sets ``clip.model``.
        **keywords: one mapping (or stage model) per stage, or plain values for ``seed`` and ``preset``. Any given value
            overrides the preset's.

    Raises:
        SettingError: a key is unknown or a value is invalid; names the key, its source, and the nearest known key.
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers = list(_layers(config, os.environ if environment is None else environment, keywords))
    for name, layer in [_preset(config, layers), *layers]:
        _merge(merged, layer, origin, name)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingError(explain_validation(error, Settings, origin)) from None


def _layers(
    config: str | Path | Mapping[str, Any] | Settings | None,
    environment: Mapping[str, str],
    keywords: Mapping[str, Any],
) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(config, Settings):
        # finished settings already include the environment
        yield "config", config.model_dump()
        environment = {}
    elif isinstance(config, Mapping):
        yield "config", dict(config)
    elif config is not None:
        path = Path(config)
        path = path / "ants.toml" if path.is_dir() else path
        yield str(path), _read_toml(path)
    yield "environment", _read_environment(environment)
    yield "keyword", {key: _plain(value) for key, value in keywords.items() if value is not None}


def _preset(
    config: str | Path | Mapping[str, Any] | Settings | None, layers: list[tuple[str, dict[str, Any]]]
) -> tuple[str, dict[str, Any]]:
    """Return the preset named by the layer of highest precedence; its values are the lowest layer."""
    chosen = [layer["preset"] for _, layer in layers if "preset" in layer] or ["paper"]
    if isinstance(config, Settings) and chosen[-1] != config.preset:
        raise SettingError(
            f"these settings are finished, with the preset {config.preset!r}; give preset={chosen[-1]!r} where they "
            f"are made: load_settings(...), or ants build --set preset={chosen[-1]}"
        )
    # an unknown name is refused by the validation of all layers
    return "preset", PRESETS.get(str(chosen[-1]), {})


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise SettingError(f"{path}: no such settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from None
    return {key: _anchored(value, key, path.resolve().parent) for key, value in data.items()}


def _anchored(value: Any, key: str, folder: Path) -> Any:
    """Resolve paths in a settings file relative to that file."""
    if isinstance(value, dict):
        return {name: _anchored(item, f"{key}.{name}", folder) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("~"):
        return expand_home(value)
    if isinstance(value, str) and (key in PATH_FIELDS or value.startswith(("./", "../"))):
        return str((folder / value).resolve())
    return value


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in FOREIGN_VARIABLES:
            continue
        *stages, field = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        place = found
        for stage in stages:
            place = place.setdefault(stage, {})
            if not isinstance(place, dict):
                raise SettingError(f"environment variable {name}: {stage!r} is already set to a plain value")
        place[field] = _environment_value(environment[name])
    return found


def _environment_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _merge(into: dict[str, Any], layer: Mapping[str, Any], origin: dict[str, str], name: str, prefix: str = "") -> None:
    for key, value in layer.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            below = into.get(key)
            below = dict(below) if isinstance(below, Mapping) else {}
            origin[dotted] = name
            _merge(below, value, origin, name, f"{dotted}.")
            into[key] = below
        else:
            into[key] = value
            origin[dotted] = name


def explain_validation(error: ValidationError, model: type[BaseModel], origin: Mapping[str, str]) -> str:
    """Explain a validation error: the key, its source, the reason, and the nearest known key."""
    lines = []
    for item in error.errors(include_url=False):
        # pydantic adds the names of union branches to the location; settings never have integer or spaced names
        location = [str(part) for part in item["loc"]]
        known = _fields_at(model, location[:-1])
        while known is None and len(location) > 1:
            location = location[:-1]
            known = _fields_at(model, location[:-1])
        dotted = ".".join(location)
        source = origin.get(dotted)
        where = f" (from {source})" if source else ""
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(location[-1], known or [], n=1, cutoff=0.5)
            hint = (
                f"did you mean {'.'.join([*location[:-1], near[0]])!r}?"
                if near
                else f"known here: {', '.join(known or [])}"
            )
            lines.append(f"unknown setting {dotted!r}{where}; {hint}")
        else:
            lines.append(f"setting {dotted!r}{where}: {item['msg']}, got {_short(item['input'])}")
    return "; ".join(dict.fromkeys(lines))


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str] | None:
    current: Any = model
    for part in location:
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        if field is None:
            return None
        current = field.annotation
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
