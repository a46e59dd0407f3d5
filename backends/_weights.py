"""Locates a Hugging Face model and pins it to its content: a folder's hashes or a hub commit."""

import hashlib
import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from ants_engine.common.text_file import expand_home
from ants_engine.errors import MissingDependencyError, ModelNotFoundError

HUB_TIMEOUT = 5.0
"""Seconds for the hub to resolve a revision."""

WAYS_OUT = (
    'Name another model: a local folder (`mllm.model = "./folder"`), a server (`mllm.backend = "openai"` with '
    "`mllm.base_url`), or try the embedded world, which needs no network (`examples/emoji_world/ants.toml`)."
)
"""Advice at the end of every error about a missing model."""

INSTALL = "The huggingface backend needs transformers: pip install 'ants-engine[huggingface]'"

_FILES = (
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json",
    "image_processor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.json", "*.jinja", "*.model",
    "*.tiktoken", "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Weights:
    """A pinned model: loading it later gives the same model or fails."""

    source: str
    """A folder, or a hub id."""
    revision: str | None
    """The hub commit; None for a folder."""
    sha256: str | None
    """Hash of the folder's content; None for the hub."""
    cached: bool = False
    """The hub did not answer; the commit is from the local cache, and only the cache may be used."""

    def facts(self) -> dict[str, str]:
        """Identify the content without its place."""
        if self.sha256 is not None:
            return {"sha256": self.sha256}
        return {"model": self.source, "revision": str(self.revision)}

    def model_type(self, cache_dir: Path | None) -> str:
        """Return ``model_type`` of config.json, fetched from the hub if need be; empty when unavailable."""
        if self.revision is None:
            return folder_model_type(self.source)
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(
                self.source, "config.json", revision=self.revision, cache_dir=cache_dir, local_files_only=self.cached
            )
        except Exception:  # loading the model meets the same error and reports it
            return ""
        return folder_model_type(str(Path(path).parent))


def locate(model: str, revision: str | None, cache_dir: Path | None, *, with_code: bool) -> Weights:
    """Pin a model. Hashes every file of a folder; sends the hub one request, or reads its cache without a network.

    Args:
        model: a folder (``./…``, ``../…``, ``/…``, ``~…`` or one that exists) or a hub id.
        revision: a hub branch, tag or commit.
        cache_dir: the hub's cache, its default when None.
        with_code: hash Python files as well, since they will be run.

    Raises:
        ModelNotFoundError: there is no such folder, or the hub has no such model.
        MissingDependencyError: transformers is not installed.
    """
    if _is_folder(model):
        folder = Path(expand_home(model))
        return Weights(source=str(folder), revision=None, sha256=_folder_sha256(model, folder, with_code=with_code))
    return _locate_on_hub(model, revision, cache_dir)


def check(model: str, revision: str | None, cache_dir: Path | None) -> None:
    """Check that `locate` would find a model, without hashing a folder.

    Raises:
        ModelNotFoundError: there is no such folder, or the hub has no such model.
        MissingDependencyError: transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise MissingDependencyError(INSTALL)
    if _is_folder(model):
        _check_folder(model, Path(expand_home(model)))
    else:
        _locate_on_hub(model, revision, cache_dir)


def _is_folder(model: str) -> bool:
    return model.startswith(("./", "../", "/", "~")) or model in {".", ".."} or Path(model).is_dir()


def folder_model_type(model: str) -> str:
    """Return ``model_type`` of a folder's config.json; empty when it cannot be read."""
    try:
        config = json.loads(Path(expand_home(model), "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def _check_folder(model: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ModelNotFoundError(f"There is no model folder {model!r}. {WAYS_OUT}")
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            f"The folder {model!r} holds no config.json, so it is not a transformers model. {WAYS_OUT}"
        )


def _folder_sha256(model: str, folder: Path, *, with_code: bool) -> str:
    _check_folder(model, folder)
    patterns = (*_FILES, "*.py") if with_code else _FILES
    files = [path for path in folder.iterdir() if any(fnmatchcase(path.name, pattern) for pattern in patterns)]
    files += (folder / "additional_chat_templates").glob("*.jinja")
    try:
        hashes = {path.relative_to(folder).as_posix(): _file_sha256(path) for path in files if path.is_file()}
    except OSError as error:
        raise ModelNotFoundError(f"The model folder {model!r} cannot be read: {error.strerror}. {WAYS_OUT}") from error
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate_on_hub(model: str, revision: str | None, cache_dir: Path | None) -> Weights:
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache
        from huggingface_hub.errors import (
            GatedRepoError,
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise MissingDependencyError(INSTALL) from error

    if revision is not None and _COMMIT.fullmatch(revision):
        return Weights(source=model, revision=revision, sha256=None)
    try:
        commit = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT).sha
    except HFValidationError as error:
        raise ModelNotFoundError(f"{model!r} is neither a folder nor a Hugging Face hub id. {WAYS_OUT}") from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(f"The hub's model {model!r} has no revision {revision!r}. {WAYS_OUT}") from error
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"The hub's model {model!r} is gated: accept its terms and run `hf auth login`. {WAYS_OUT}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"The Hugging Face hub has no model {model!r} (or it is private). {WAYS_OUT}"
        ) from error
    except Exception as error:  # network errors, whose types differ between HTTP stacks
        found = try_to_load_from_cache(model, "config.json", cache_dir=cache_dir, revision=revision)
        if not isinstance(found, str):
            raise ModelNotFoundError(
                f"The model {model!r} is not in the local cache, and the Hugging Face hub cannot be reached "
                f"({type(error).__name__}). {WAYS_OUT}"
            ) from error
        return Weights(source=model, revision=Path(found).parent.name, sha256=None, cached=True)
    return Weights(source=model, revision=commit, sha256=None)
