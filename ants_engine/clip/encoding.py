"""The encoder interface, the lock that serialises an encoder, and an encoder for given text features."""

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

TextSource = Mapping[str, Any] | Callable[[Sequence[str]], Any]
"""Text → feature (D,); or a function that encodes K texts to (K, D)."""


class Encoder(Protocol):
    """`ClipEncoder`, `GivenEncoder`, or a user's own object.

    The ``encode_…`` methods of one object never run concurrently, whichever detectors, streams, servers and adapters
    share it (`encoder_lock`). `preprocess` and `fits` are called from several threads.
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
        """Hex digest of everything that may change the last bits of a text feature; empty where that is unknown."""
        ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """Turn an RGB picture into the model's input."""
        ...

    def encode_inputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """Encode preprocessed pictures to (N, D), L2-normalised."""
        ...

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Tensor:
        """Encode texts to (K, D), L2-normalised."""
        ...

    def fits(self, text: str) -> bool:
        """Return whether the whole text fits the model's context."""
        ...


class FifoLock:
    """A re-entrant lock whose waiters are served in FIFO order. Use as a context manager; it blocks."""

    def __init__(self) -> None:
        """Start unlocked."""
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._owner: int | None = None
        self._depth = 0

    def __enter__(self) -> Self:
        """Acquire the lock."""
        with self._changed:
            if self._owner == threading.get_ident():
                self._depth += 1
            else:
                self._acquire(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        with self._changed:
            # an interrupted `yield_to_waiters` has lost it already
            if self._owner == threading.get_ident():
                self._depth -= 1
                if not self._depth:
                    self._release()

    def yield_to_waiters(self) -> None:
        """Release the lock to all current waiters, then acquire it again; the caller must hold it."""
        with self._changed:
            if self._waiting:
                depth = self._depth
                self._release()
                self._acquire(depth)

    def _acquire(self, depth: int) -> None:
        ticket = object()
        self._waiting.append(ticket)
        try:
            self._changed.wait_for(lambda: self._owner is None and self._waiting[0] is ticket)
            self._owner, self._depth = threading.get_ident(), depth
        finally:
            self._waiting.remove(ticket)
            # after Ctrl-C the next waiter has to be woken up
            self._changed.notify_all()

    def _release(self) -> None:
        self._owner = None
        self._changed.notify_all()


_LOCKS: dict[int, tuple[Callable[[], object], FifoLock]] = {}
_MUTEX = threading.Lock()


def encoder_lock(encoder: object) -> FifoLock:
    """Return the lock of this very object; hold it while calling an ``encode_…`` method.

    `ClipEncoder` acquires it itself too, and yields it to waiters between two batches.
    """
    key = id(encoder)
    with _MUTEX:
        if key not in _LOCKS:
            owner: Callable[[], object]
            try:
                owner = weakref.ref(encoder, lambda _: _LOCKS.pop(key, None))
            except TypeError:
                # without weak references the object is kept alive, so that its id cannot be reused
                owner = partial(_itself, encoder)
            _LOCKS[key] = owner, FifoLock()
        return _LOCKS[key][1]


def _itself(encoder: object) -> object:
    return encoder


class GivenEncoder:
    """Encodes texts from a table, or with a function of the user's; pictures are given as features."""

    def __init__(
        self, texts: TextSource, dim: int, *, logit_scale: float = 100.0, identity: Mapping[str, JSON] | None = None
    ) -> None:
        """Keep the source.

        Args:
            texts: a table, or a function.
            dim: D, the features' length.
            logit_scale: 1 / temperature of the CLIP model that they come from.
            identity: which CLIP model that is, for reports.
        """
        self._texts = texts
        self.dim = dim
        self.logit_scale = logit_scale
        known: dict[str, JSON] = {"architecture": "given features", "dim": dim, "logit_scale": logit_scale}
        known |= dict(identity or {})
        known["sha256"] = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self.identity = known
        """What is known of the CLIP model."""

    @property
    def identity_sha256(self) -> str:
        """Hex digest of `identity`."""
        return str(self.identity["sha256"])

    @property
    def text_batches_sha256(self) -> str:
        """Empty: a function, or another table, may give other features for the same text tomorrow."""
        return ""

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Tensor:
        """Return (K, D) float32, L2-normalised.

        Raises:
            FeatureError: the table lacks a text, or the source returns another shape.
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
        """Accept every text: the source's limits are unknown."""
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
