"""What is known of picture files that were seen before: CLIP's features of them, and what the MLLM was shown."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ants_engine.clip.decode import DECODING
from ants_engine.clip.row_file import RowFile
from ants_engine.protocol import JSON
from ants_engine.settings.config import ImageSettings

if TYPE_CHECKING:
    import torch

_BITS_DECIDED_BY = ("sha256", "compiled", "towers", "device", "versions", "dim")


def content_key(data: bytes) -> bytes:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(data).digest()


class PictureFeatures:
    """CLIP features by the sha256 of a picture's file; one file per model, preprocessing, precision and versions.

    What is read back is what encoding would give, to the bit: a feature does not depend on its batch (`ClipEncoder`).
    """

    def __init__(self, folder: Path, identity: Mapping[str, JSON], limits: ImageSettings) -> None:
        """Name the place; nothing is read yet.

        Args:
            folder: made with the first features.
            identity: `ClipEncoder.identity`.
            limits: a picture that they would refuse is not found.
        """
        made_with = {name: identity.get(name) for name in _BITS_DECIDED_BY} | {"decoding": DECODING}
        self._dim = int(str(identity["dim"]))
        self._rows = _file(folder, "features", made_with | {"max_pixels": limits.max_pixels}, 4 * self._dim)

    def load(self, keys: Sequence[bytes]) -> "list[torch.Tensor | None]":
        """Return float32 (D,) per key, or None where it is not known (blocking)."""
        import torch

        return [
            None if value is None else torch.from_numpy(np.frombuffer(value, "<f4").astype(np.float32))
            for value in self._rows.get(keys)
        ]

    def save(self, keys: Sequence[bytes], features: "torch.Tensor") -> None:
        """Keep float32 (n, D), L2-normalised, of n pictures (blocking). A full disk is no error."""
        values = features.numpy().astype("<f4", copy=False)
        self._rows.put([(key, values[row].tobytes()) for row, key in enumerate(keys)])


class ShownPictures:
    """The digest of what the MLLM is shown of a picture, by the sha256 of the picture's file.

    It is what an answer is looked up by, so that a picture whose answer is in the store need not be decoded.
    """

    def __init__(self, folder: Path, max_side: int, limits: ImageSettings) -> None:
        """Name the place; nothing is read yet.

        Args:
            folder: made with the first digest.
            max_side: longest side in pixels of what is shown.
            limits: a picture that they would refuse is not found.
        """
        # another decoder may give other samples
        made_with = {
            "decoding": DECODING,
            "max_side": max_side,
            "max_pixels": limits.max_pixels,
            "pillow": metadata.version("pillow"),
        }
        self._rows = _file(folder, "shown", made_with, 32)

    def load(self, key: bytes) -> str | None:
        """Return `Picture.sha256` of what was shown, or None where it is not known (blocking)."""
        (value,) = self._rows.get([key])
        return None if value is None else value.hex()

    def save(self, key: bytes, sha256: str) -> None:
        """Keep a digest (blocking). A full disk is no error."""
        self._rows.put([(key, bytes.fromhex(sha256))])


def _file(folder: Path, kind: str, made_with: Mapping[str, object], width: int) -> RowFile:
    title = hashlib.sha256(json.dumps([kind, made_with], sort_keys=True).encode()).digest()
    return RowFile(folder / f"{kind}-{title.hex()[:16]}.rows", title, width)
