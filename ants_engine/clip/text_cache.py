"""Features of a large list of texts, kept on disk: a lexicon is encoded once per CLIP model, not once per run."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class TextFeatureCache:
    """A folder of safetensors files, one per model and list of texts. Losing it costs time and nothing else."""

    def __init__(self, folder: Path | None) -> None:
        """Name the folder.

        Args:
            folder: made with the first file; ``None`` keeps nothing.
        """
        self._folder = folder

    def path(self, model_sha256: str, texts: Sequence[str]) -> Path | None:
        """Tell where the features of these texts lie, if anywhere."""
        if self._folder is None or not model_sha256:
            return None
        return self._folder / f"texts-{model_sha256[:16]}-{texts_sha256(texts)[:32]}.safetensors"

    def load(self, model_sha256: str, texts: Sequence[str]) -> "torch.Tensor | None":
        """Read the features of exactly these texts in this order (blocking).

        Args:
            model_sha256: `ClipEncoder.text_batches_sha256`; nothing is kept where it is empty.
            texts: K texts.

        Returns:
            Float32 (K, D), or ``None`` if they are not there or the file is damaged in any way.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path(model_sha256, texts)
        if path is None:
            return None
        try:
            data = path.read_bytes()
            features: torch.Tensor = load(data)["features"]
            expected = _metadata(data)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s: encoded anew, the file cannot be read (%s)", path, error)
            return None
        found = _labels(model_sha256, texts, features) if features.dtype == torch.float32 else {}
        if features.ndim != 2 or len(features) != len(texts) or found != expected:
            logger.warning("%s: encoded anew, the file is damaged", path)
            return None
        return features

    def save(self, model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> bool:
        """Keep features, float32 (K, D), so that a reader sees all of the file or none of it (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.
        """
        from safetensors.torch import save

        path = self.path(model_sha256, texts)
        if path is None:
            return False
        features = features.contiguous()
        data = save({"features": features}, metadata=_labels(model_sha256, texts, features))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        except OSError as error:
            logger.info("%s: text features are not kept (%s)", path.parent, error.strerror)
            return False
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError as error:
            logger.info("%s: text features are not kept (%s)", path.parent, error.strerror)
            return False
        finally:
            # gone already where all went well
            with suppress(OSError):
                Path(temporary).unlink()
        return True


def texts_sha256(texts: Sequence[str]) -> str:
    """Name a list of texts, their order included."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def _labels(model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> dict[str, str]:
    """Describe the content in full: a file name holds only the beginnings of the digests."""
    return {
        "model_sha256": model_sha256,
        "texts_sha256": texts_sha256(texts),
        "features_sha256": hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest(),
    }


def _metadata(data: bytes) -> dict[str, str]:
    """Read the metadata of a safetensors file that was parsed before: 8 bytes of length, then a JSON header."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
