"""What the engine needs of whatever encodes pictures and texts, and the turns in which it is used."""

import hashlib
import json
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ants_engine.common.features import as_tensor, check_features
from ants_engine.errors import FeatureError, UsageError
from ants_engine.protocol import JSON


class Encoder(Protocol):
    """`ClipEncoder`, `GivenEncoder`, or an object of the user's.

    The engine never calls an ``encode_…`` method of one object twice at once, whichever detectors, streams, servers and
    adapters share it (`turn_of`). `preprocess` and `fits` are called from several threads.
    """

    dim: int
    """D, the features' length."""
    logit_scale: float
    """1 / temperature."""
    identity: dict[str, JSON]
    """What was loaded; ``sha256`` is over the parts that determine features."""

    @property
    def identity_sha256(self) -> str:
        """Hex digest of the parts of `identity` that determine features."""
        ...

    @property
    def text_batches_sha256(self) -> str:
        """Hex digest of what may change the last bits of a text feature; empty where nobody knows."""
        ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """Turn an RGB picture into the model's input."""
        ...

    def encode_inputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """Encode preprocessed pictures to (N, D), L2-normalised."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode RGB pictures to (N, D), L2-normalised."""
        ...

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Tensor:
        """Encode texts to (K, D), L2-normalised."""
        ...

    def fits(self, text: str) -> bool:
        """Tell whether the whole text is seen by the model."""
        ...


class Turn:
    """A re-entrant lock that goes to whoever has waited longest. Use as a context manager; it blocks."""

    def __init__(self) -> None:
        """Nobody has it."""
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> Self:
        """Wait for it."""
        if self._owner != threading.get_ident():
            self._wait()
            self._owner = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        if self._owner != threading.get_ident():
            # lost in `offer`
            return
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._pass_on()

    def offer(self) -> None:
        """Let everybody who waits go first; the caller has it."""
        with self._mutex:
            if not self._waiting:
                return
        depth, self._depth, self._owner = self._depth, 0, None
        self._pass_on()
        self._wait()
        self._owner, self._depth = threading.get_ident(), depth

    def _wait(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            own = threading.Lock()
            own.acquire()
            self._waiting.append(own)
        try:
            own.acquire()
        except BaseException:
            # Ctrl-C: it must not come to somebody who has gone
            with self._mutex:
                came = own not in self._waiting
                if not came:
                    self._waiting.remove(own)
            if came:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_TURNS: dict[int, tuple[Callable[[], object], Turn]] = {}
_MUTEX = threading.Lock()


def turn_of(encoder: object) -> Turn:
    """Return the lock that belongs to this very object; whoever encodes with it holds that.

    `ClipEncoder` takes it itself too, and offers it to others between two batches.
    """
    key = id(encoder)
    with _MUTEX:
        if key not in _TURNS:
            owner: Callable[[], object]
            try:
                owner = weakref.ref(encoder, lambda _: _TURNS.pop(key, None))
            except TypeError:
                # it cannot be referred to weakly, and is kept: its id must not become another object's
                owner = partial(_itself, encoder)
            _TURNS[key] = owner, Turn()
        return _TURNS[key][1]


def _itself(encoder: object) -> object:
    return encoder


# ---- given features --------------------------------------------------------------------------------------------------


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
