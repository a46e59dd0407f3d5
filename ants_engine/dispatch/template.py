"""Where prompt templates are found: the user's folder first, then the package's own."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ants_engine.common.atomic_file import read_at_most
from ants_engine.common.canonical_json import excerpt
from ants_engine.dispatch.prompt_template import MAX_BYTES, PromptTemplate
from ants_engine.errors import TemplateError

__all__ = ["PromptTemplate", "TemplateEntry", "TemplateLibrary"]

_REF = re.compile(r"([a-z][a-z0-9_-]{0,63})(?:/v([1-9][0-9]{0,5}))?", re.ASCII)
_FILE = re.compile(r"v([1-9][0-9]{0,5})\.toml", re.ASCII)
_TASK = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TemplateEntry:
    """One line of the list of templates."""

    ref: str
    """``<task>/v<N>``."""
    origin: str
    """The file that is used for it."""
    description: str
    """What it asks for."""


class TemplateLibrary:
    """Finds templates ``<task>/v<N>``; a file of the user's folder hides the package's of the same name."""

    def __init__(self, folder: Path | None = None) -> None:
        """Look into these places; nothing is read yet.

        Args:
            folder: the user's templates, ``<task>/v<N>.toml``; none if empty.

        Raises:
            TemplateError: the folder is not there.
        """
        if folder is not None and not folder.is_dir():
            raise TemplateError(f"{folder}: no such folder of prompt templates (setting prompts.folder)")
        self._folder = folder

    def load(self, ref: str) -> PromptTemplate:
        """Read one template.

        Args:
            ref: ``<task>/v<N>``, or ``<task>`` alone for its highest version.

        Raises:
            TemplateError: the name is not of that form, there is no such template, it leads out of its folder, or
                the file cannot be used.
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
        """Name every template, in order.

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
