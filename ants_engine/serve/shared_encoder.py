"""One CLIP for all requests and streams of a server."""

import threading
from collections.abc import Callable, Sequence

from PIL import Image
from torch import Tensor

from ants_engine.clip.encoding import Encoder
from ants_engine.protocol import JSON


class SharedEncoder:
    """An encoder that several threads may use: they take turns to encode."""

    def __init__(self, inner: Encoder) -> None:
        """Share ``inner``."""
        self._inner = inner
        self._turn = threading.Lock()
        self.dim = inner.dim
        self.logit_scale = inner.logit_scale
        self.identity: dict[str, JSON] = inner.identity

    @property
    def identity_sha256(self) -> str:
        """See `Encoder`."""
        return self._inner.identity_sha256

    @property
    def text_batches_sha256(self) -> str:
        """See `Encoder`."""
        return self._inner.text_batches_sha256

    def preprocess(self, image: Image.Image) -> Tensor:
        """See `Encoder`; needs no turn."""
        return self._inner.preprocess(image)

    def encode_inputs(self, inputs: Sequence[Tensor]) -> Tensor:
        """See `Encoder`."""
        with self._turn:
            return self._inner.encode_inputs(inputs)

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """See `Encoder`."""
        return self.encode_inputs([self._inner.preprocess(image) for image in images])

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Tensor:
        """See `Encoder`."""
        with self._turn:
            return self._inner.encode_texts(texts, on_progress)

    def fits(self, text: str) -> bool:
        """See `Encoder`; needs no turn."""
        return self._inner.fits(text)
