"""Backends, found through the entry point group ``ants_engine.backends``."""

import difflib
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, metadata
from typing import Any

from pydantic import BaseModel, ValidationError

from ants_engine.common.canonical_json import excerpt
from ants_engine.errors import ANTSError, MissingDependencyError, SettingError, UnknownBackendError
from ants_engine.protocol import Backend
from ants_engine.settings.config import MLLMSettings

GROUP = "ants_engine.backends"
_HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.:-]*)?", re.ASCII)


def available() -> list[str]:
    """Name the installed backends."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_backend_class(name: str) -> type[Any]:
    """Import a backend's class.

    Raises:
        UnknownBackendError: no backend of that name is installed, or its class is not one.
        MissingDependencyError: its module needs a package that is not installed.
    """
    point = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        installed = available()
        raise UnknownBackendError(
            f"mllm.backend: no backend {excerpt(name)} is installed{_nearest(name, installed)}. "
            f"Installed: {', '.join(installed) or 'none'}"
        )
    try:
        loaded = point.load()
    except ImportError as error:
        raise _missing(point, error) from error
    except AttributeError as error:
        raise UnknownBackendError(f"backend {name}: {point.value} does not exist; reinstall its package") from error
    options = getattr(loaded, "Options", None)
    if not isinstance(loaded, type) or not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise UnknownBackendError(f"backend {name}: {point.value} is not a backend (it has no Options model)")
    return loaded


def create_backend(mllm: MLLMSettings) -> Backend:
    """Create the backend that the settings name. Nothing is loaded or connected yet.

    Raises:
        UnknownBackendError: it is not installed.
        MissingDependencyError: a package that it needs is not installed.
        SettingError: its options are unknown, missing, or do not fit.
    """
    backend_class = load_backend_class(mllm.backend)
    options = _validate(mllm, backend_class.Options)
    try:
        backend = backend_class(options)
    except ImportError as error:
        point = next(iter(entry_points(group=GROUP, name=mllm.backend)))
        raise _missing(point, error) from error
    if not isinstance(backend, Backend):
        raise UnknownBackendError(f"backend {mllm.backend}: {backend_class.__name__} lacks a part of the protocol")
    return backend


def check_option_names(mllm: MLLMSettings, given: Iterable[str]) -> None:
    """Check that the backend has settings of these names; values are checked when it is created.

    Raises:
        UnknownBackendError: it is not installed.
        SettingError: it has no setting of one of these names.
    """
    try:
        options: type[BaseModel] = load_backend_class(mllm.backend).Options
    except MissingDependencyError:
        # a run that does not ask it does not need its packages
        return
    if options.model_config.get("extra") == "allow":
        return
    known = {*options.model_fields, *MLLMSettings.model_fields}
    complaints = [
        _complaint("extra_forbidden", key, "", mllm.backend, sorted(known - {"backend"}))
        for key in given
        if key not in known
    ]
    if complaints:
        raise SettingError("; ".join(complaints))


def backend_name(backend: type[object]) -> str:
    """Return the name of an installed backend class, or else its class name."""
    value = f"{backend.__module__}:{backend.__qualname__}"
    names = sorted(point.name for point in entry_points(group=GROUP) if point.value == value)
    return names[0] if names else backend.__name__


def declared_model(mllm: MLLMSettings) -> str:
    """Return the model's name in the settings, a path cut to its last part.

    The store records a model's identity under this name, so that a replay finds it without the model.
    """
    model = (mllm.model_extra or {}).get("model")
    if model is None:
        try:
            field = load_backend_class(mllm.backend).Options.model_fields.get("model")
        except ANTSError:
            return ""
        model = None if field is None or field.is_required() else field.default
    name = "" if model is None else str(model)
    if _HUB_ID.fullmatch(name):
        return name
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1]


def _validate(mllm: MLLMSettings, options: type[BaseModel]) -> BaseModel:
    try:
        return options.model_validate(mllm.model_extra or {})
    except ValidationError as error:
        known = sorted({*options.model_fields, *(set(MLLMSettings.model_fields) - {"backend"})})
        # a value may be a secret: no input is repeated
        complaints = [
            _complaint(detail["type"], ".".join(map(str, detail["loc"])), detail["msg"], mllm.backend, known)
            for detail in error.errors(include_input=False, include_url=False, include_context=False)
        ]
    raise SettingError("; ".join(complaints))


def _complaint(kind: str, key: str, message: str, backend: str, known: list[str]) -> str:
    if kind == "extra_forbidden":
        nearest = _nearest(key, known, "mllm.")
        return f"mllm.{key}: unknown setting of backend {backend}{nearest}. Known: {', '.join(known)}"
    if kind == "missing":
        return f"mllm.{key}: backend {backend} needs it"
    return f"mllm.{key}: {message}" if key else f"mllm: {message}"


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def _missing(point: EntryPoint, error: ImportError) -> MissingDependencyError:
    package = error.name.partition(".")[0] if error.name else None
    distribution = point.dist.name if point.dist is not None else "ants-engine"
    try:
        extras = metadata(distribution).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        extras = []
    what = f"'{distribution}[{point.name}]'" if point.name in extras else (package or distribution)
    cause = f"package {package}, which cannot be imported" if package else f"what cannot be imported ({error})"
    return MissingDependencyError(f"backend {point.name} needs {cause}. Install it: pip install {what}")
