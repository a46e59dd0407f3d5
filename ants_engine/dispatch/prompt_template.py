"""A prompt template: one TOML file, checked when it is read, filled with quoted data."""

import hashlib
import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ants_engine.dispatch.canonical import readable
from ants_engine.errors import TemplateError
from ants_engine.text_file import decode_text

MAX_BYTES = 65_536
"""A template file larger than this is refused."""

_DEEP_KEY = re.compile(r"""(?:\.[ \t]*["'A-Za-z0-9_-]+[ \t]*){50}""")
"""Python's reader of TOML takes seconds for a key of thousands of parts."""


class TemplateFile(BaseModel):
    """The fields of a template file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    task: str
    """What is asked, ``ens`` or ``vsnl``; the name of the file's folder."""
    version: Annotated[int, Field(ge=1)]
    """N in the file's name ``v<N>.toml``."""
    description: Annotated[str, Field(min_length=1)]
    """What it asks for, in one line."""
    good_at: Annotated[str, Field(min_length=1)]
    """What this version is good at, and for which models."""
    needs_picture: bool
    """A request made of it shows a picture."""
    verifies: bool = False
    """Its answer may be a yes: the picture shows the class that it was taken for (see `VerdictReader`)."""
    variables: list[str]
    """The names that ``prompt`` uses."""
    prompt: Annotated[str, Field(min_length=1)]
    """The text, a `string.Template`: ``$name`` is replaced, ``$$`` is a dollar sign."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A checked template and where it came from."""

    ref: str
    """``<task>/v<N>``."""
    sha256: str
    """Hex digest of the file's text in UTF-8 with LF, so that a checkout on Windows has the same."""
    origin: str
    """The file, for messages."""
    file: TemplateFile
    """What the file says."""

    @classmethod
    def from_bytes(cls, data: bytes, *, ref: str, origin: str) -> "PromptTemplate":
        """Read and check a template file.

        Args:
            data: the file's bytes.
            ref: the name that it is found under, ``<task>/v<N>``.
            origin: the file's name for messages.

        Raises:
            TemplateError: too large, not UTF-8, not TOML, fields missing, unknown or of the wrong kind, ``task`` or
                ``version`` other than the file's name says, or variables used and declared that do not agree.
        """
        if len(data) > MAX_BYTES:
            raise TemplateError(f"{origin}: more than {MAX_BYTES:,} bytes; a prompt template is a short text")
        try:
            text = decode_text(data)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise TemplateError(f"{origin}, line {line}: not UTF-8; save the file as UTF-8") from error
        if _DEEP_KEY.search(text):
            raise TemplateError(f"{origin}: a key of dozens of dotted parts; a template has plain keys")
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise TemplateError(f"{origin}: not valid TOML: {error}") from error
        try:
            file = TemplateFile.model_validate(fields)
        except ValidationError as error:
            raise TemplateError(f"{origin}: {_complaints(error, text)}") from error
        if f"{file.task}/v{file.version}" != ref:
            raise TemplateError(
                f"{origin}: says task {readable(file.task)}, version {file.version}, but its name says {ref}"
            )
        _check_variables(file, origin)
        return cls(ref=ref, sha256=hashlib.sha256(text.encode()).hexdigest(), origin=origin, file=file)

    def render(self, **variables: str | int) -> str:
        """Fill the template. A text is inserted as a quoted JSON string, so it stays data; a number as it is.

        Raises:
            TemplateError: a variable is missing, unknown, or neither text nor a whole number.
        """
        declared = set(self.file.variables)
        missing, unknown = declared - variables.keys(), variables.keys() - declared
        if missing or unknown:
            groups = {"not given": missing, "unknown": unknown}
            groups = {"not given": missing, "unknown": unknown}
            faults = [f"{what}: {_names(names)}" for what, names in groups.items() if names]
            raise TemplateError(f"template {self.ref}: {'; '.join(faults)} (it takes {_names(declared)})")
        return string.Template(self.file.prompt).substitute(self._quoted(variables))

    def _quoted(self, variables: Mapping[str, object]) -> dict[str, str]:
        quoted = {}
        for name, value in variables.items():
            if isinstance(value, str):
                quoted[name] = readable(str(value))
            elif isinstance(value, int) and not isinstance(value, bool):
                quoted[name] = str(int(value))
            else:
                raise TemplateError(
                    f"template {self.ref}: ${name} must be text or a whole number, not {type(value).__name__}"
                )
        return quoted


def _check_variables(file: TemplateFile, origin: str) -> None:
    template = string.Template(file.prompt)
    if not template.is_valid():
        raise TemplateError(f"{origin}: a '$' in the prompt is followed by no name; write '$$' for a dollar sign")
    used, declared = set(template.get_identifiers()), set(file.variables)
    if len(declared) != len(file.variables):
        raise TemplateError(f"{origin}: a name is listed twice in variables")
    if used != declared:
        parts = []
        if used - declared:
            parts.append(f"the prompt uses {_names(used - declared)}, not listed in variables")
        if declared - used:
            parts.append(f"variables lists {_names(declared - used)}, which the prompt does not use")
        raise TemplateError(f"{origin}: {'; '.join(parts)}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "no variables"


def _complaints(error: ValidationError, text: str) -> str:
    complaints = []
    for detail in error.errors(include_input=False, include_url=False):
        field = str(detail["loc"][0])
        found = re.search(rf"^[ \t]*[\"']?{re.escape(field)}[\"']?[ \t]*=", text, re.MULTILINE)
        where = f" (line {text.count(chr(10), 0, found.start()) + 1})" if found else ""
        what = "unknown field" if detail["type"] == "extra_forbidden" else detail["msg"]
        complaints.append(f"{readable(field)}{where}: {what}")
    return "; ".join(complaints) + f". Fields: {', '.join(TemplateFile.model_fields)}"
