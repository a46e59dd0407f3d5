"""Text features from elsewhere, in the place of a CLIP model: for work on features alone."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ants_engine.common.features import as_tensor, check_features
from ants_engine.errors import FeatureError, UsageError
from ants_engine.protocol import JSON

TextSource = Mapping[str, Any] | Callable[[Sequence[str]], Any]
"""Text → feature (D,); or a function that encodes K texts to (K, D)."""


class GivenEncoder:
    """Encodes texts from a table, or with a function of the user's; pictures are given as features."""

    def __init__(
        self, texts: TextSource, dim: int, *, logit_scale: float = 100.0, identity: Mapping[str, JSON] | None = None
    ) -> None:
        """Keep the source.

        Args:
            texts: a table, or a function.
            dim: D, the features' length.
            logit_scale: 1 / temperature of the CLIP that they come from.
            identity: which CLIP that is, for reports.
        """
        self._texts = texts
        self.dim = dim
        self.logit_scale = logit_scale
        known: dict[str, JSON] = {"architecture": "given features", "dim": dim, "logit_scale": logit_scale}
        known |= dict(identity or {})
        known["sha256"] = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self.identity = known
        """What is known of the CLIP."""

    @property
    def identity_sha256(self) -> str:
        """Hex digest of what is known."""
        return str(self.identity["sha256"])

    @property
    def text_batches_sha256(self) -> str:
        """Nothing: a function, or another table, may give other features for the same text tomorrow."""
        return ""

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Tensor:
        """Return (K, D) float32, L2-normalised.

        Raises:
            FeatureError: the table misses a text, or what the source gives is of another shape.
        """
        if not texts:
            return torch.empty(0, self.dim)
        if isinstance(self._texts, Mapping):
            missing = [text for text in texts if text not in self._texts]
            if missing:
                shown = ", ".join(repr(text) for text in missing[:5])
                raise FeatureError(f"{len(missing)} texts are not in the table of text features, first: {shown}")
            rows: Any = np.stack([np.asarray(as_tensor(self._texts[text])) for text in texts])
        else:
            rows = self._texts(list(texts))
        features = check_features(rows, self.dim)
        if len(features) != len(texts):
            raise FeatureError(f"the text encoder gave {len(features)} features for {len(texts)} texts")
        if on_progress is not None:
            on_progress(len(texts))
        return features

    def fits(self, text: str) -> bool:
        """Take every text: what does not fit is the source's affair."""
        return True

    def preprocess(self, image: Image.Image) -> Tensor:
        """Refuse a picture.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "this detector has features and no CLIP model: give features=… (and images= only to show the MLLM)"
        )

    def encode_inputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """Refuse pictures, as `preprocess` does."""
        if not inputs:
            return torch.empty(0, self.dim)
        raise UsageError("this detector has features and no CLIP model: give features=…")

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Refuse pictures, as `preprocess` does."""
        return self.encode_inputs([self.preprocess(image) for image in images])
