"""Files of a model on the Hugging Face hub: from its cache, else from the network, or quickly not at all."""

import itertools
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ants_engine.errors import ModelNotFoundError

CONNECT_TIMEOUT = 4.0
"""Seconds that the hub has to accept a connection before it counts as out of reach."""


def fetch(repo: str, names: Sequence[str], cache_dir: Path | None) -> Path:
    """Find the first of several files of one repository, downloading it if need be (blocking).

    Args:
        repo: ``owner/name``.
        names: file names, in the order of preference.
        cache_dir: the hub cache; the library's default (``HF_HOME``) when empty.

    Returns:
        The file in the hub cache.

    Raises:
        ModelNotFoundError: not cached, and the hub is switched off, out of reach, or does not have it.
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
    """Read the commit off a path in the hub cache (``…/snapshots/<commit>/…``)."""
    parts = path.parts
    for parent, child in itertools.pairwise(parts):
        if parent == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", child):
            return child
    return None


def require_hub(what: str) -> None:
    """Find out within seconds whether the hub can be reached. The hub's own client would retry for half a minute.

    Raises:
        ModelNotFoundError: it is switched off (``HF_HUB_OFFLINE``) or does not answer.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise ModelNotFoundError(f"{what} is not in the hub cache, and HF_HUB_OFFLINE forbids asking the network")
    # behind a proxy only the proxy can tell
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
    """Name the hub that is asked (``HF_ENDPOINT``)."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
