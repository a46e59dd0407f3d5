"""What a configuration file of OpenOOD says about this postprocessor."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ants_engine.detector.class_file import read_class_file
from ants_engine.errors import ClassListError, SettingError

Mode = Literal["frozen", "stream", "validation"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """``postprocessor.postprocessor_args``."""

    detector: str | None = None
    """A folder that `ANTS.save` wrote."""
    id_classes: tuple[str, ...] | None = None
    """Class names in the order of the labels; in the file also a path, with a name per line."""
    settings: str | dict[str, Any] | None = None
    """For `ANTS.build`: an ``ants.toml`` or its folder, or a mapping; with a detector, a mapping of overrides."""
    mode: Mode | None = None

    @classmethod
    def read(cls, config: Any) -> "Arguments":
        """Read a configuration: OpenOOD's ``Config``, any nested mapping, any object with such attributes, or None.

        Raises:
            SettingError: a key is unknown, a value does not fit, or two contradict each other.
            ClassListError: the file of class names cannot be read.
        """
        found = _plain(_part(_part(config, "postprocessor"), "postprocessor_args")) or {}
        known = [field.name for field in fields(cls)]
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise SettingError(f"postprocessor_args.{key} is unknown{hint}")
        known_mode(found.get("mode"))
        if found.get("id_classes") is not None:
            if found.get("detector") is not None:
                raise SettingError("postprocessor_args: give detector or id_classes, not both")
            found["id_classes"] = _names(found["id_classes"])
        return cls(**found)


def known_mode(mode: Any) -> Mode | None:
    """Return the mode, or None for None.

    Raises:
        SettingError: there is no such mode.
    """
    if mode is not None and mode not in get_args(Mode):
        raise SettingError(f"mode is {mode!r}; one of {', '.join(get_args(Mode))} is needed")
    found: Mode | None = mode
    return found


def _part(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def _plain(value: Any) -> Any:
    """Rebuild mappings as plain ones: OpenOOD's own reads a dot in a key as a path."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return vars(value).copy() if hasattr(value, "__dict__") else value


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, str):
        return tuple(given)
    try:
        return tuple(read_class_file(Path(given)))
    except ClassListError as error:
        raise ClassListError(f"postprocessor_args.id_classes: {error}") from error
