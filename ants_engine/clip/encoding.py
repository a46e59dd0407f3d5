"""What the engine needs of whatever encodes pictures and texts, and the turns in which it is used."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, Self

from PIL import Image
from torch import Tensor

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
