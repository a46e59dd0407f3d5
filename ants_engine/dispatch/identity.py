"""Which model was asked: its identity under the name that the settings give it, so that replay needs no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from ants_engine.common.canonical_json import canonical
from ants_engine.protocol import JSON


@dataclass(frozen=True, slots=True)
class RecordedIdentity:
    """One model, as a store or a cassette remembers it."""

    backend: str
    """The backend's name."""
    model: str
    """The model as the settings name it, without a path; see `declared_model`."""
    identity: Mapping[str, JSON]
    """What its backend said it is."""
    pictures: bool = True
    """It could be shown pictures."""
    text_only: bool = True
    """It could be asked without one."""

    def parts(self) -> dict[str, Any]:
        """Spell it as JSON."""
        return {
            "backend": self.backend,
            "model": self.model,
            "identity": dict(self.identity),
            "pictures": self.pictures,
            "text_only": self.text_only,
        }

    @classmethod
    def from_parts(cls, parts: object) -> "RecordedIdentity":
        """Read what `parts` returned.

        Raises:
            ValueError: it is not of that form.
        """
        try:
            found = _Parts.model_validate(parts)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise ValueError(f"identity.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        return cls(found.backend, found.model, found.identity, found.pictures, found.text_only)

    def describe(self) -> str:
        """Name it in one line."""
        return f"{self.backend} {self.model or '(default model)'} {canonical(dict(self.identity))[:120]}"


class _Parts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())

    backend: str
    model: str
    identity: dict[str, JsonValue]
    pictures: bool
    text_only: bool
