"""Features of short lists of texts (classes, sentences, look-alikes), kept in one file per CLIP model."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ants_engine.clip.row_file import RowFile
from ants_engine.clip.text_cache import texts_sha256

if TYPE_CHECKING:
    import torch


class TextRows:
    """As `TextFeatureCache`, for lists that are many and short: a row per text of a list, not a file per list.

    Found is a list, not a text: what comes from here must be what encoding would give, and an encoder of the user's may
    give a text other last bits beside other texts.
    """

    def __init__(self, folder: Path | None, dim: int) -> None:
        """Name the folder.

        Args:
            folder: made with the first list; ``None`` keeps nothing.
            dim: D, the features' length.
        """
        self._folder = folder
        self._dim = dim
        self._files: dict[str, RowFile] = {}

    def load(self, model_sha256: str, texts: Sequence[str]) -> "torch.Tensor | None":
        """Read the features of exactly these texts in this order (blocking).

        Args:
            model_sha256: `ClipEncoder.text_batches_sha256`; nothing is kept where it is empty.
            texts: K texts.

        Returns:
            Float32 (K, D), or ``None`` where a row is not there or damaged.
        """
        import torch

        file = self._file(model_sha256)
        if file is None or not texts:
            return None
        rows = file.get(_keys(texts))
        if any(row is None for row in rows):
            return None
        values = np.frombuffer(b"".join(row for row in rows if row is not None), "<f4").astype(np.float32)
        return torch.from_numpy(values.reshape(len(texts), self._dim))

    def save(self, model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> bool:
        """Keep features, float32 (K, D) (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.
        """
        file = self._file(model_sha256)
        if file is None or not texts:
            return False
        values = features.numpy().astype("<f4", copy=False)
        return file.put([(key, row.tobytes()) for key, row in zip(_keys(texts), values, strict=True)])

    def _file(self, model_sha256: str) -> RowFile | None:
        if self._folder is None or not model_sha256:
            return None
        if model_sha256 not in self._files:
            path = self._folder / f"texts-{model_sha256[:16]}.rows"
            self._files[model_sha256] = RowFile(path, f"{model_sha256} {self._dim}".encode(), 4 * self._dim)
        return self._files[model_sha256]


def _keys(texts: Sequence[str]) -> list[bytes]:
    whole = texts_sha256(texts)
    return [hashlib.sha256(f"{whole} {row}".encode()).digest() for row in range(len(texts))]
