"""Prompt templates: TOML files, checked when they are read, and the library that finds them."""

import hashlib
import re
import stat
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.canonical_json import excerpt, readable
from ants_engine.common.text_file import decode_text
from ants_engine.errors import TemplateError

MAX_BYTES = 65_536
"""A template file larger than this is refused."""

_DEEP_KEY = re.compile(r"""(?:\.[ \t]*["'A-Za-z0-9_-]+[ \t]*){50}""")
"""tomllib takes seconds for a key of thousands of parts."""


class TemplateFile(BaseModel):
    """The fields of a template file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    task: str
    """``ens`` or ``vsnl``; the name of the file's folder."""
    version: Annotated[int, Field(ge=1)]
    """N in the file's name ``v<N>.toml``."""
    description: Annotated[str, Field(min_length=1)]
    """What it asks for, in one line."""
    good_at: Annotated[str, Field(min_length=1)]
    """What this version is good at, and for which models."""
    needs_picture: bool
    """Whether its requests show a picture."""
    verifies: bool = False
    """Its answer may be a yes: the picture shows the class that it was taken for (see `VerdictReader`)."""
    variables: list[str]
    """The names that ``prompt`` uses."""
    prompt: Annotated[str, Field(min_length=1)]
    """The text, a `string.Template`: ``$name`` is replaced, ``$$`` is a dollar sign."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A checked template and its origin."""

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


_REF = re.compile(r"([a-z][a-z0-9_-]{0,63})(?:/v([1-9][0-9]{0,5}))?", re.ASCII)
_FILE = re.compile(r"v([1-9][0-9]{0,5})\.toml", re.ASCII)
_TASK = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TemplateEntry:
    """One item of the list of templates."""

    ref: str
    """``<task>/v<N>``."""
    origin: str
    """The file that is used."""
    description: str
    """What it asks for."""


class TemplateLibrary:
    """Finds templates ``<task>/v<N>``; a file of the user's folder hides the package's of the same name."""

    def __init__(self, folder: Path | None = None) -> None:
        """Name the folders; nothing is read yet.

        Args:
            folder: the user's templates, ``<task>/v<N>.toml``; none if empty.

        Raises:
            TemplateError: there is no such folder.
        """
        if folder is not None and not folder.is_dir():
            raise TemplateError(f"{folder}: no such folder of prompt templates (setting prompts.folder)")
        self._folder = folder

    def load(self, ref: str) -> PromptTemplate:
        """Read one template.

        Args:
            ref: ``<task>/v<N>``, or ``<task>`` alone for its highest version.

        Raises:
            TemplateError: malformed name, no such template, a link out of its folder, or an unusable file.
        """
        found = _REF.fullmatch(ref)
        if found is None:
            raise TemplateError(f"{excerpt(ref)} is not a template's name: write <task>/v<N>, as in ens/v1")
        sources = self._sources()
        if found[2] is None:
            versions = [int(name.partition("/v")[2]) for name in sources if name.startswith(f"{found[1]}/v")]
            ref = f"{found[1]}/v{max(versions, default=1)}"
        if ref not in sources:
            raise TemplateError(f"no prompt template {ref}; there are: {', '.join(_ordered(sources)) or 'none'}")
        return self._read(ref, sources[ref])

    def list(self) -> list[TemplateEntry]:
        """Return every template, in order.

        Raises:
            TemplateError: a file cannot be used; it is named.
        """
        sources = self._sources()
        templates = [self._read(ref, sources[ref]) for ref in _ordered(sources)]
        return [TemplateEntry(each.ref, each.origin, each.file.description) for each in templates]

    def _sources(self) -> dict[str, Path | Traversable]:
        sources: dict[str, Path | Traversable] = dict(_scan(files("ants_engine.prompts")))
        if self._folder is not None:
            try:
                sources.update(_scan(self._folder))
            except OSError as error:
                raise TemplateError(f"{self._folder}: cannot be read: {error.strerror}") from error
        return sources

    def _read(self, ref: str, source: Path | Traversable) -> PromptTemplate:
        if self._folder is not None and isinstance(source, Path) and source.is_relative_to(self._folder):
            return PromptTemplate.from_bytes(_read_user_file(source, self._folder), ref=ref, origin=str(source))
        with source.open("rb") as stream:
            data = read_at_most(stream, MAX_BYTES + 1)
        return PromptTemplate.from_bytes(data, ref=ref, origin=f"ants_engine.prompts/{ref}.toml")


def _scan(folder: Path | Traversable) -> Iterator[tuple[str, Path | Traversable]]:
    for task in folder.iterdir():
        if _TASK.fullmatch(task.name) and task.is_dir():
            for file in task.iterdir():
                if found := _FILE.fullmatch(file.name):
                    yield f"{task.name}/v{found[1]}", file


def _read_user_file(path: Path, folder: Path) -> bytes:
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TemplateError(f"{path}: a link that leads out of {folder}; put the file itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            raise TemplateError(f"{path}: not a regular file")
        with path.open("rb") as stream:
            return read_at_most(stream, MAX_BYTES + 1)
    except (OSError, RuntimeError) as error:
        raise TemplateError(f"{path}: cannot be read: {error}") from error


def _ordered(refs: dict[str, Path | Traversable]) -> list[str]:
    return sorted(refs, key=lambda ref: (ref.partition("/v")[0], int(ref.partition("/v")[2])))
