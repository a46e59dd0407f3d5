"""What a saved detector's own settings may not decide for whoever loads it."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from ants_engine.config import Settings
from ants_engine.errors import SettingError


def unconfirmed(saved: Settings, given: Mapping[str, Any]) -> tuple[str, ...]:
    """List the settings of a folder that would send pictures and keys elsewhere, or run a model's own code.

    Args:
        saved: the folder's settings.
        given: what the user says beside them, one mapping (or stage model) per stage.

    Returns:
        Keys of the ``mllm`` stage that the user has not given again.
    """
    own: Any = given.get("mllm") or {}
    said = own.model_dump(exclude_unset=True) if isinstance(own, BaseModel) else own
    if "backend" in said and said["backend"] != saved.mllm.backend:
        return ()
    extra = saved.mllm.model_extra or {}
    return tuple(key for key, value in extra.items() if key not in said and (_runs_code(key, value) or _is_away(value)))


def refuse_unconfirmed(keys: Sequence[str]) -> None:
    """Refuse to use an MLLM with such settings.

    Raises:
        SettingError: there are any; they are named, with what to do.
    """
    if keys:
        named = ", ".join(f"mllm.{key}" for key in keys)
        raise SettingError(
            f"the detector's folder sets {named}: pictures and keys would go to another machine, or a model's own code "
            f"would run here. If that is what you want, give {named} again (--set, or mllm={{…}} to ANTS.load)"
        )


def _runs_code(key: str, value: object) -> bool:
    return "trust" in key.lower() and bool(value)


def _is_away(value: object) -> bool:
    if not isinstance(value, str) or "://" not in value:
        return False
    try:
        host = urlsplit(value.strip()).hostname or ""
        return host.rstrip(".") != "localhost" and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
