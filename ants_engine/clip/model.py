"""Finding and loading a CLIP model: files, activation and preprocessing are pinned, never guessed by open_clip."""

import difflib
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ants_engine.clip.weights import fetch_from_hub, has_openai_marks, require_hub, revision_of, without_openai_marks
from ants_engine.common.text_file import expand_home, read_text
from ants_engine.errors import ModelNotFoundError, SettingError
from ants_engine.settings.config import ClipSettings

CONFIG_NAME = "open_clip_config.json"
WEIGHT_NAMES = (
    "open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth",
)  # fmt: skip
"""Weights files that open_clip looks for in a folder, in its order."""

HELP = (
    "What helps: name a local folder in open_clip's local-dir form (clip.model = './clip', with "
    f"{CONFIG_NAME} and weights in it), or a weights file (clip.model = 'ViT-B-16-quickgelu', "
    "clip.pretrained = '/path/to/weights.safetensors'), or use the embedded world's model: "
    "config = 'examples/emoji_world/ants.toml'."
)

_PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")


@dataclass(frozen=True)
class ClipModel:
    """A CLIP model that has been found, not loaded yet."""

    architecture: str
    """open_clip's name; ``local-dir`` for a folder; ``hf-hub:owner/name`` for one on the hub."""
    pretrained: str | None
    """The weights tag; ``file`` for a weights file; ``None`` otherwise."""
    config: dict[str, Any]
    """open_clip's model config (``embed_dim``, ``vision_cfg``, ``text_cfg``, …) with the activation that is used."""
    preprocess: dict[str, Any]
    """mean, std, interpolation, resize_mode, fill_color; the size follows from the model."""
    weights: Path
    revision: str | None
    """Commit on the hub, where the weights came from there."""
    folder: Path | None
    """The folder that open_clip reads, if it is one."""
    cache_dir: Path | None

    @classmethod
    def find(cls, settings: ClipSettings) -> "ClipModel":
        """Find the model that the settings name, downloading weights if they are on the hub (blocking).

        Raises:
            ModelNotFoundError: no such model, folder, tag or file; or the hub is needed and out of reach.
            SettingError: settings that contradict each other or would silently give wrong features.
        """
        name = settings.model
        try:
            folder = _folder_named(name)
            if folder is not None:
                return cls._from_folder(folder, settings)
            if name.startswith("hf-hub:"):
                return cls._from_hub(name.removeprefix("hf-hub:"), settings)
            return cls._from_name(name, settings)
        except ModelNotFoundError as error:
            raise ModelNotFoundError(f"CLIP model {name!r}: {str(error).rstrip('.')}. {HELP}") from error

    @classmethod
    def _from_folder(cls, folder: Path, settings: ClipSettings) -> "ClipModel":
        config, weights = _look_into(folder)
        preprocess = _preprocess(config.get("preprocess_cfg") or {})
        config = config["model_cfg"]
        if not config.get("quick_gelu", False) and has_openai_marks(weights):
            raise SettingError(
                f"{weights.name} holds OpenAI's weights, which were trained with QuickGELU, and {CONFIG_NAME} beside "
                'it sets another activation, which would silently change every feature; write "quick_gelu": true in '
                "its model_cfg"
            )
        return cls("local-dir", None, config, preprocess, weights, None, folder, settings.cache_dir)

    @classmethod
    def _from_hub(cls, repo: str, settings: ClipSettings) -> "ClipModel":
        config, preprocess = _read_config(fetch_from_hub(repo, [CONFIG_NAME], settings.cache_dir))
        weights = fetch_from_hub(repo, WEIGHT_NAMES[:4], settings.cache_dir)
        revision = revision_of(weights)
        return cls(f"hf-hub:{repo}", None, config, preprocess, weights, revision, None, settings.cache_dir)

    @classmethod
    def _from_name(cls, name: str, settings: ClipSettings) -> "ClipModel":
        with quiet_logging():
            import open_clip
            from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

            name = name.replace("/", "-")
            config = open_clip.get_model_config(name)
        if config is None:
            near = difflib.get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise ModelNotFoundError(f"open_clip has no architecture of that name.{hint}")
        if not settings.pretrained:
            raise SettingError(f"clip.pretrained is empty: {name} needs a weights tag or a weights file")
        tag = settings.pretrained
        tag_config = get_pretrained_cfg(name, tag)
        if tag_config:
            repo, _, file = tag_config["hf_hub"].rpartition("/")
            safe = [str(Path(file).with_suffix(".safetensors")), file] if file else list(WEIGHT_NAMES[:4])
            weights = fetch_from_hub(repo, safe, settings.cache_dir)
            # open_clip only warns about a mismatch, and the features would be wrong
            config["quick_gelu"] = bool(tag_config.get("quick_gelu", False))
            preprocess = _preprocess(tag_config)
            return cls(name, tag, config, preprocess, weights, revision_of(weights), None, settings.cache_dir)
        weights = _path(tag)
        if not weights.is_file():
            known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
            raise ModelNotFoundError(f"clip.pretrained = {tag!r} is neither a weights tag (known: {known}) nor a file.")
        config["quick_gelu"] = _activation_for_file(name, weights, config)
        preprocess = _preprocess_for_file(name, weights)
        return cls(name, "file", config, preprocess, weights, revision_of(weights), None, settings.cache_dir)

    def weights_sha256(self) -> str:
        """Hash the weights file (blocking)."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def load(self, device: str, precision: str) -> Any:
        """Build open_clip's model and load its weights (blocking).

        Args:
            device: a torch device string.
            precision: ``fp32``, ``bf16`` or ``fp16``.

        Returns:
            The model in evaluation mode, without gradients: ``encode_image`` (N, 3, H, W) → (N, D), ``encode_text``
            (K, L) → (K, D), ``logit_scale``, ``visual.preprocess_cfg``.

        Raises:
            ModelNotFoundError: the weights do not fit the model, are damaged, or are of a kind that could run code.
        """
        with quiet_logging():
            import open_clip

            text = self.config.get("text_cfg", {})
            if "hf_model_name" in text and not Path(text["hf_model_name"]).is_dir():
                fetch_from_hub(text["hf_model_name"], ["config.json"], self.cache_dir)
            try:
                converted = has_openai_marks(self.weights)
                model = open_clip.create_model(
                    f"local-dir:{self.folder}" if self.folder else self.architecture,
                    str(self.weights) if self.pretrained and not converted else None,
                    load_weights=not converted,
                    precision=precision,
                    device=device,
                    force_quick_gelu=bool(self.config.get("quick_gelu")),
                    force_preprocess_cfg=dict(self.preprocess),
                    pretrained_image=False,
                    pretrained_text=False,
                    cache_dir=str(self.cache_dir) if self.cache_dir else None,
                    require_pretrained=not converted,
                    weights_only=True,
                )
                if converted:
                    model.load_state_dict(without_openai_marks(self.weights))
            except Exception as error:
                raise ModelNotFoundError(f"{self.weights}: {_why_not_loaded(error)} {HELP}") from error
        return model.eval().requires_grad_(False)

    def load_tokenizer(self) -> Any:
        """Load open_clip's tokenizer: a list of K texts → int64 ids (K, ``context_length``) (blocking).

        Raises:
            ModelNotFoundError: its files are missing or damaged.
        """
        with quiet_logging():
            import open_clip

            options: dict[str, Any] = {"cache_dir": str(self.cache_dir) if self.cache_dir else None}
            name = f"local-dir:{self.folder}" if self.folder else self.architecture
            if self.config.get("text_cfg", {}).get("hf_tokenizer_name"):
                # a folder's configuration must not run code, and needs no network
                options |= {"trust_remote_code": False, "local_files_only": True}
            try:
                try:
                    tokenizer = open_clip.get_tokenizer(name, **options)
                except Exception:
                    if self.folder or "local_files_only" not in options:
                        raise
                    require_hub("the tokenizer")
                    tokenizer = open_clip.get_tokenizer(name, **(options | {"local_files_only": False}))
            except ModelNotFoundError:
                raise
            except Exception as error:
                message = f"{self.architecture}: no usable tokenizer ({_line(error)}). {HELP}"
                raise ModelNotFoundError(message) from error
        # random masking of long texts is for training only
        if getattr(tokenizer, "reduction_fn", None) is not None:
            tokenizer.reduction_fn = None
        return tokenizer


def check_files(settings: ClipSettings) -> None:
    """Check that a folder or weights file that the settings name by path exists; open_clip is not imported.

    Raises:
        ModelNotFoundError: it is missing, or holds no model.
    """
    folder, weights = _folder_named(settings.model), settings.pretrained or ""
    problem = ""
    if folder is not None:
        try:
            _look_into(folder)
        except ModelNotFoundError as error:
            problem = str(error).rstrip(".")
    elif _is_path(weights) and not _path(weights).is_file():
        problem = f"clip.pretrained = {weights!r} is no file"
    if problem:
        raise ModelNotFoundError(f"CLIP model {settings.model!r}: {problem}. {HELP}")


def _folder_named(model: str) -> Path | None:
    """Return the folder that ``clip.model`` names by a path; None where it names a model."""
    if model.startswith("local-dir:"):
        return _path(model.removeprefix("local-dir:"))
    return _path(model) if model in (".", "..") or _is_path(model) else None


def _is_path(text: str) -> bool:
    return text.startswith(("./", "../", "/", "~"))


def _path(text: str) -> Path:
    return Path(expand_home(text)).absolute()


def _look_into(folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the content of a folder's config file, and its weights file."""
    if not folder.is_dir():
        raise ModelNotFoundError("there is no such folder.")
    return _read_json(folder / CONFIG_NAME), _weights_in(folder)


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep open_clip's calls to ``logging.info`` from installing a handler on the application's root logger."""
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a model config and the completed preprocessing."""
    whole = _read_json(path)
    return whole["model_cfg"], _preprocess(whole.get("preprocess_cfg") or {})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(read_text(path))
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"the folder has no {CONFIG_NAME}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelNotFoundError(f"{CONFIG_NAME} cannot be read ({_line(error)}).") from error
    config = whole.get("model_cfg") if isinstance(whole, dict) else None
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise ModelNotFoundError(f"{CONFIG_NAME} has no 'model_cfg' with embed_dim, vision_cfg and text_cfg.")
    return dict(whole)


def _preprocess(given: dict[str, Any]) -> dict[str, Any]:
    """Complete a preprocessing description with open_clip's defaults, as plain JSON values."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    default = {
        "mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD,
        "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
    }  # fmt: skip
    chosen = {key: default[key] if given.get(key) is None else given[key] for key in _PREPROCESS_KEYS}
    return chosen | {key: [float(value) for value in chosen[key]] for key in ("mean", "std")}


def _weights_in(folder: Path) -> Path:
    found = sorted(path for end in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{end}"))
    named = [folder / name for name in WEIGHT_NAMES if folder / name in found]
    if named:
        return named[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelNotFoundError(f"the folder has no weights ({WEIGHT_NAMES[0]}).")
    names = ", ".join(path.name for path in found)
    raise ModelNotFoundError(f"the folder has several weights files ({names}); name the right one {WEIGHT_NAMES[0]}.")


def _sidecar(weights: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    beside = weights.with_name(CONFIG_NAME)
    return _read_config(beside) if beside.is_file() else None


def _activation_for_file(name: str, weights: Path, config: dict[str, Any]) -> bool:
    """Return whether a weights file was trained with QuickGELU; only OpenAI's own files contain a sign of it."""
    quick = bool(config.get("quick_gelu", False))
    beside = _sidecar(weights)
    if beside is not None:
        trained = bool(beside[0].get("quick_gelu", False))
        if quick and not trained:
            raise SettingError(
                f"clip.model = {name!r} uses QuickGELU, but {CONFIG_NAME} beside {weights.name} says that the weights "
                f"were trained without it; write clip.model = {name.removesuffix('-quickgelu')!r}"
            )
        return trained
    # the file's own name and, in a hub cache, the repository's
    hints = [weights.name, *(part for part in weights.parts if part.startswith("models--"))]
    named = any(word in hint.lower() for hint in hints for word in ("openai", "quickgelu"))
    if not quick and (named or has_openai_marks(weights)):
        raise SettingError(
            f"{weights.name} looks like weights trained with QuickGELU (OpenAI's are), and clip.model = {name!r} uses "
            f"another activation, which would silently change every feature; write clip.model = '{name}-quickgelu'"
        )
    return quick


def _preprocess_for_file(name: str, weights: Path) -> dict[str, Any]:
    """Return the preprocessing of a weights file: the config beside it, else what all published weights share."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    beside = _sidecar(weights)
    if beside is not None:
        return beside[1]
    known = [_preprocess(get_pretrained_cfg(name, tag)) for tag in list_pretrained_tags_by_model(name)]
    if any(other != known[0] for other in known[1:]):
        raise SettingError(
            f"published weights of {name} were trained with different preprocessing, and {weights.name} does not say "
            f"with which; put its {CONFIG_NAME} beside it, or name the weights by their open_clip tag"
        )
    return known[0] if known else _preprocess({})


def _why_not_loaded(error: Exception) -> str:
    text = str(error)
    if "TorchScript" in text:
        return (
            "a TorchScript archive (such as OpenAI's original .pt file) is a program and is not run. Convert it once "
            "where you trust it: "
            "safetensors.torch.save_file(torch.jit.load(path, 'cpu').state_dict(), 'weights.safetensors')."
        )
    if "Weights only load failed" in text or "weights_only" in text:
        return "the file holds pickled objects, which could run code, and is not loaded; save it as safetensors."
    if "vision_model.encoder" in text:
        return (
            "the weights are in the format of transformers' CLIPModel; take them in open_clip's (on the hub, the "
            "repositories of timm and laion that hold an open_clip_config.json)."
        )
    if "size mismatch" in text or "Missing key" in text or "Unexpected key" in text:
        return f"the weights do not fit the architecture ({_line(error)})."
    return f"the model cannot be loaded ({type(error).__name__}: {_line(error)})."


def _line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300]
