"""Model files on the Hugging Face hub, and OpenAI's weights files."""

import itertools
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ants_engine.errors import ModelNotFoundError

if TYPE_CHECKING:
    import torch

CONNECT_TIMEOUT = 4.0
"""Seconds for the hub to accept a connection before it counts as unreachable."""


def fetch_from_hub(repo: str, names: Sequence[str], cache_dir: Path | None) -> Path:
    """Return the first of several files of a repository that exists, from the hub cache or by download (blocking).

    Args:
        repo: ``owner/name``.
        names: file names in order of preference.
        cache_dir: the hub cache; the library's default (``HF_HOME``) when empty.

    Returns:
        The file in the hub cache.

    Raises:
        ModelNotFoundError: not cached, and the hub is disabled, unreachable, or does not have it.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repo, name, cache_dir=cache_dir)
        if isinstance(cached, str):
            return Path(cached)
    require_hub(repo)
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repo, name, cache_dir=cache_dir))
        except LocalEntryNotFoundError as error:
            raise ModelNotFoundError(f"{repo} on {hub_host()}: the download failed ({_first_line(error)})") from error
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise ModelNotFoundError(f"{repo} on {hub_host()}: cannot be had ({_first_line(error)})") from error
    raise ModelNotFoundError(f"{repo} on {hub_host()} has none of the files {', '.join(names)}")


def revision_of(path: Path) -> str | None:
    """Return the commit in a path of the hub cache (``…/snapshots/<commit>/…``)."""
    parts = path.parts
    for parent, child in itertools.pairwise(parts):
        if parent == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", child):
            return child
    return None


def require_hub(what: str) -> None:
    """Check within seconds that the hub is reachable; its own client would retry for half a minute.

    Raises:
        ModelNotFoundError: it is disabled (``HF_HUB_OFFLINE``) or does not answer.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise ModelNotFoundError(f"{what} is not in the hub cache, and HF_HUB_OFFLINE forbids asking the network")
    # a direct connection says nothing about one through a proxy
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    parts = urlsplit(constants.ENDPOINT)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "huggingface.co", port), CONNECT_TIMEOUT).close()
    except OSError as error:
        raise ModelNotFoundError(
            f"{what} is not in the hub cache, and {hub_host()} cannot be reached ({_first_line(error)})"
        ) from error


def hub_host() -> str:
    """Return the hub's host name (``HF_ENDPOINT``)."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


OPENAI_MARKS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Entries that OpenAI's own checkpoints hold besides the weights. open_clip drops them from TorchScript archives only,
so that the same weights saved as safetensors or with ``torch.save`` would not load."""


def tensor_names(weights: Path) -> frozenset[str]:
    """Read the tensors' names only (blocking). Empty on any error: loading the file will report it."""
    try:
        if weights.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(weights, framework="pt") as file:
                return frozenset(file.keys())
        return frozenset(_pickled(weights, device="meta"))
    except Exception:  # a damaged file may raise anything
        return frozenset()


def has_openai_marks(weights: Path) -> bool:
    """Return whether the file was converted from OpenAI's own (blocking)."""
    return tensor_names(weights) >= OPENAI_MARKS


def without_openai_marks(weights: Path) -> "dict[str, torch.Tensor]":
    """Read the weights of such a file, without the marks (blocking)."""
    if weights.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = _pickled(weights, device="cpu")
    return {name: tensor for name, tensor in state.items() if name not in OPENAI_MARKS}


def _pickled(weights: Path, device: str) -> "dict[str, torch.Tensor]":
    import torch

    whole = torch.load(weights, map_location=device, weights_only=True)
    state: dict[str, torch.Tensor] = whole.get("state_dict", whole)
    return state
