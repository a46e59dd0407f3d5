"""What is checked before anything costs time: no model is loaded, nothing is asked, and torch is not imported.

The order is that of cost: settings, ID classes, pictures, the place of the result, prompt templates, lexicon, the files
of models, and last the MLLM: a server that can be reached and knows the model. Every check raises what the work itself
would have ended with, only earlier; what cannot be told beforehand passes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ants_engine.clip.model import check_files
from ants_engine.common.atomic_file import try_file, try_folder
from ants_engine.dispatch.backend_registry import check_option_names, create_backend
from ants_engine.dispatch.prompt_template import PromptTemplate, TemplateLibrary
from ants_engine.dispatch.storage.store import ResponseStore, holds_store, prepare_folder
from ants_engine.errors import (
    ANTSError,
    CassetteError,
    DetectorFolderError,
    FinalBackendError,
    SettingError,
    StoreError,
    UsageError,
)
from ants_engine.lexicon.lexicon import SHIPPED, load_lexicon
from ants_engine.protocol import Answer, Backend, CheckableBackend
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings

if TYPE_CHECKING:
    from os import PathLike

_LOG = logging.getLogger("ants_engine")


@dataclass(frozen=True, slots=True)
class Templates:
    """The two prompt templates that the settings name."""

    ens: PromptTemplate
    vsnl: PromptTemplate
    other_ens: PromptTemplate | None = None
    """Asked with where an answer was of no use; see ``ens.other_template``."""
    other_vsnl: PromptTemplate | None = None

    @property
    def sha256s(self) -> dict[str, str]:
        """Names of the templates and the sha256 of their files."""
        every = (self.ens, self.vsnl, self.other_ens, self.other_vsnl)
        return {template.ref: template.sha256 for template in every if template is not None}


def load_templates(settings: Settings) -> Templates:
    """Load the templates and see that they can be filled.

    Raises:
        TemplateError: a template is missing or malformed, or does not take what its task gives it.
    """
    library = TemplateLibrary(settings.prompts.folder)
    other_ens, other_vsnl = (
        None if other is None else library.load(other)
        for other in (settings.ens.other_template, settings.vsnl.other_template)
    )
    templates = Templates(
        library.load(settings.ens.template), library.load(settings.vsnl.template), other_ens, other_vsnl
    )
    for template in (templates.ens, other_ens):
        if template is not None:
            template.render(max_words=1, class_name="")
    for template in (templates.vsnl, other_vsnl):
        if template is not None:
            template.render(count=1, class_name="")
    return templates


def merged_settings(
    config: "str | PathLike[str] | Mapping[str, Any] | Settings | None",
    settings: dict[str, Any],
    backend: Backend | None,
) -> Settings:
    """Merge settings, and see that the options of the MLLM that they name are known.

    Raises:
        SettingError: a setting does not exist, or its value does not fit.
        UsageError: the backend is not installed.
    """
    given = config if isinstance(config, (Settings, Mapping)) or config is None else Path(config)
    merged = load_settings(given, **settings)
    if merged.scoring.threshold == "calibrated":
        raise SettingError(
            "scoring.threshold = 'calibrated' is what ANTS.calibrate (ants calibrate) sets, with pictures known to be "
            "ID: build with another threshold, then calibrate"
        )
    if backend is None and merged.mllm.model_extra:
        # a cold start asks nothing, so that a misspelt one would not be found
        check_option_names(merged.mllm, merged.mllm.model_extra)
    return merged


def holds_detector(folder: Path) -> bool:
    """Tell whether a folder looks like one that `ANTS.save` wrote."""
    return (folder / "detector.json").exists()


def check_detector(folder: Path) -> None:
    """See that there is a detector to load.

    Raises:
        DetectorFolderError: there is none.
    """
    if not holds_detector(folder):
        raise DetectorFolderError(f"{folder}: no detector.json; is this a folder from ants.save()?")


def check_detector_out(folder: Path) -> None:
    """See that a detector can be saved to a folder, by writing there; nothing stays behind.

    Raises:
        DetectorFolderError: it cannot be written.
    """
    _try(lambda: try_folder(folder), folder, DetectorFolderError)


def check_file_out(path: Path) -> None:
    """See that a page, or another file, can be written, by writing beside it; nothing stays behind.

    Raises:
        UsageError: it cannot be written.
    """
    _try(lambda: try_file(path), path, UsageError)


def check_cassette_out(path: Path) -> None:
    """See that a cassette can be written.

    Raises:
        CassetteError: it cannot be written.
    """
    _try(lambda: try_file(path), path, CassetteError)


def check_models(settings: Settings, *, clip: bool = True) -> None:
    """See that templates, lexicon and, where ``clip`` is to be loaded, the files that its settings name can be used.

    Blocking, and quick: of a model's files it looks at names only.

    Raises:
        TemplateError: a template is missing or malformed.
        LexiconError: the lexicon is.
        ModelNotFoundError: CLIP's folder or weights file is missing.
    """
    load_templates(settings)
    if settings.lexicon.source != SHIPPED:
        load_lexicon(settings.lexicon.source)
    if clip:
        check_files(settings.clip)


async def check_mllm(settings: Settings, backend: Backend | None = None) -> None:
    """See that the MLLM will be able to answer, as far as its backend can tell (`CheckableBackend`).

    A failure is final unless the store already holds answers of this very model: a run that finds all its answers there
    needs no MLLM. Then it is logged as a warning, and only a question that is not in the store waits for the MLLM. In
    ``replay`` there has to be a store, and the MLLM is not touched.

    Args:
        settings: ``mllm`` and ``dispatch`` are used.
        backend: the one that will be asked, in place of the one that ``mllm`` names.

    Raises:
        UsageError: the backend, its options, a package or a model is missing or wrong.
        BackendError: the server cannot be reached, refuses the key, or has no such model.
        StoreUnavailableError: there is nothing to replay.
    """
    dispatch = settings.dispatch
    if dispatch.mode == "replay":
        await asyncio.to_thread(prepare_folder, dispatch.store.absolute(), make=False)
        return
    asked = create_backend(settings.mllm) if backend is None else backend
    try:
        if isinstance(asked, CheckableBackend):
            await _check(asked, settings)
    finally:
        if backend is None:
            await asked.aclose()


async def _check(backend: CheckableBackend, settings: Settings) -> None:
    problem = await _problem(backend)
    if problem is None:
        return
    if not await _has_answered(backend, settings):
        raise problem
    _LOG.warning(
        "%s; going on with the answers in %s: only a question that is not there needs the MLLM",
        problem,
        settings.dispatch.store,
    )


async def _problem(backend: CheckableBackend) -> ANTSError | None:
    try:
        await backend.check()
    except ANTSError as error:
        return error
    except Exception as error:
        # as for a question: the text of a foreign error may hold anything, so only its kind is named
        name = type(backend).__name__
        return FinalBackendError(f"the backend {name} cannot be checked: it raised {type(error).__name__}")
    return None


async def _has_answered(backend: CheckableBackend, settings: Settings) -> bool:
    """Tell whether the store holds an answer of this very model."""
    dispatch = settings.dispatch
    if dispatch.mode != "record" or not holds_store(dispatch.store):
        return False
    try:
        identity = dict(await backend.identity())
        async with ResponseStore(dispatch.store, strict=True) as store:
            async for entry in store.entries():
                if isinstance(entry.ending, Answer) and dict(entry.request.identity) == identity:
                    return True
    except (StoreError, UsageError):
        pass
    return False


def _try(write: Callable[[], None], path: Path, kind: type[ANTSError]) -> None:
    try:
        write()
    except OSError as error:
        raise kind(f"{path}: cannot be written: {error.strerror or error}") from error
