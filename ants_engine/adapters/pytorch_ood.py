"""ANTS as a detector of pytorch-ood (https://github.com/kkirchheim/pytorch-ood, version 0.4).

::

    detector = ANTSDetector(id_classes=["husky", "beagle"], streaming=True)
    metrics = OODMetrics()
    for x, y in loader:                    # x: pictures through detector.ants.encoder.preprocess; y < 0: OOD
        metrics.update(detector(x), y)
    print(metrics.compute())
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from ants_engine.adapters.clip_inputs import loader_pictures
from ants_engine.adapters.sync_ants import SyncANTS, Verdicts
from ants_engine.ants import ANTS
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import Encoder, GivenEncoder
from ants_engine.errors import ClassListError, MissingDependencyError
from ants_engine.protocol import Backend
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings

try:
    from pytorch_ood.api import FeaturesDetector, RequiresFittingException
except ImportError as missing:
    raise MissingDependencyError(
        f'this adapter needs pytorch-ood ({missing}): pip install "ants-engine[pytorch-ood]"'
    ) from missing

if TYPE_CHECKING:
    from os import PathLike

    from ants_engine.adapters.clip_inputs import InputEncoder

__all__ = ["ANTSDetector"]


class ANTSDetector(FeaturesDetector):  # type: ignore[misc]
    """ANTS (arXiv 2509.03951): outlier scores from CLIP, and from negative texts that an MLLM finds.

    Nothing is trained. A fit uses unlabelled pictures *as they come at test time*, ID and OOD mixed; labels are never
    used. There are three ways:

    - ``ANTSDetector(ants)``: a finished detector. `fit` does nothing.
    - ``ANTSDetector(id_classes=…)`` and `fit`, or `fit_features`: learns from those pictures. A training set of ID
      pictures alone is a poor choice, since nothing in it looks OOD.
    - ``streaming=True``: the method as published. Every prediction adapts first, so that scores depend on earlier
      pictures and on batch sizes. No fit is needed. Call `reset` between data sets. ``stream.lag`` saves no time here,
      since predictions do not overlap.

    Scores are outlier scores, 1 − ``id_score``: float32 in [0, 1], higher = more out-of-distribution. Everything
    blocks, and may be called where an event loop is running (a notebook).
    """

    def __init__(
        self,
        ants: ANTS | None = None,
        *,
        id_classes: Iterable[str] | Mapping[str, str | Iterable[str]] | None = None,
        streaming: bool = False,
        config: "str | PathLike[str] | Mapping[str, Any] | Settings | None" = None,
        encoder: Encoder | None = None,
        backend: Backend | None = None,
        **settings: Any,
    ) -> None:
        """Take a finished detector, or the arguments to build one.

        Args:
            ants: a finished detector; streaming changes its state.
            id_classes: as for `ANTS.build`; either these or ``ants``.
            streaming: adapt with every prediction.
            config: as for `ANTS.build`, used with ``id_classes``.
            encoder: as for `ANTS.build`, used with ``id_classes``.
            backend: an MLLM in place of the one that the settings name; the caller closes it.
            **settings: as for `ANTS.build`, used with ``id_classes``.

        Raises:
            ClassListError: neither ``ants`` nor ``id_classes`` is given, or both are.
        """
        super().__init__()
        if (ants is None) == (id_classes is None):
            raise ClassListError("give either ants= (a finished detector) or id_classes= (to learn one)")
        # an iterator of names would be exhausted by the first fit
        self._id_classes = id_classes if id_classes is None or isinstance(id_classes, Mapping) else list(id_classes)
        self._streaming = streaming
        self._config = config
        self._encoder = encoder
        self._backend = backend
        self._settings = settings
        self._sync = None if ants is None else SyncANTS(ants, streaming=streaming, backend=backend)
        self.requires_fit = ants is None and not streaming

    @property
    def ants(self) -> ANTS:
        """The underlying detector; with ``streaming``, an initial one is built on first use.

        Raises:
            RequiresFittingException: there is none yet.
            ANTSError: what `ANTS.build` raises.
        """
        return self._made().ants

    @property
    def encoder(self) -> "InputEncoder | None":
        """CLIP's image tower, x (B, 3, H, W) → (B, D), the name under which pytorch-ood's benchmarks look for it.

        None where features do not suffice: while streaming, since the MLLM has to be shown pictures; before a fit; and
        for a detector made from features.
        """
        if self._sync is None or self._streaming or isinstance(self._sync.ants.encoder, GivenEncoder):
            return None
        return self._sync.input_encoder

    def fit(self, data_loader: Iterable[Any]) -> Self:
        """Learn from unlabelled pictures; replaces what was learned before.

        Args:
            data_loader: batches ``(x, y)``, or ``x`` alone, of pictures (B, 3, H, W) through CLIP's preprocessing,
                known and unknown mixed; ``y`` is ignored. Run through once; need not fit in memory. The MLLM is shown
                what CLIP sees.

        Returns:
            This detector. Nothing happens where a finished detector was given.

        Raises:
            FeatureError: the pictures do not fit this CLIP.
            NoImagesError: there are none.
            ANTSError: what else `ANTS.build` raises.
        """
        if self._id_classes is None:
            return self
        self._learn(images=loader_pictures(data_loader, self._clip()))
        return self

    def fit_features(self, x: Tensor, y: Tensor | None = None) -> Self:
        """Learn from features of unlabelled pictures: look-alikes only, since there are no pictures to describe.

        Args:
            x: (N, D) CLIP image features of any float dtype.
            y: ignored.

        Returns:
            This detector. Nothing happens where a finished detector was given.

        Raises:
            FeatureError: wrong shape or dtype, or rows that are NaN, infinite or all zero.
            ANTSError: what else `ANTS.build` raises.
        """
        if self._id_classes is not None:
            self._learn(features=x)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Score preprocessed pictures; when streaming, the MLLM is shown those that look OOD, as CLIP sees them.

        Args:
            x: (B, 3, H, W) of float dtype, as ``ants.encoder.preprocess`` makes them.

        Returns:
            Float32 (B,) on the device of ``x``; higher = more out-of-distribution.

        Raises:
            RequiresFittingException: there was no fit.
            FeatureError: ``x`` does not fit this CLIP.
            UsageError: the detector was made from features and has no CLIP.
            ANTSError: when streaming, what `ANTS.stream` raises.
        """
        return _outlier_scores(self._made().score_inputs(x), x)

    def predict_features(self, x: Tensor) -> Tensor:
        """Score CLIP image features; when streaming, the MLLM is asked for look-alikes only.

        Args:
            x: (B, D) of float dtype. When streaming, they are cut into batches of ``stream.batch_size``.

        Returns:
            Float32 (B,) on the device of ``x``; higher = more out-of-distribution.

        Raises:
            RequiresFittingException: there was no fit.
            FeatureError: wrong shape or dtype, or rows that are NaN, infinite or all zero.
            ANTSError: when streaming, what `ANTS.stream` raises.
        """
        return _outlier_scores(self._made().score_features(x), x)

    def reset(self) -> Self:
        """Restore the detector as it was given, or as the last fit built it.

        Raises:
            UsageError: a stream of this detector is under way.
        """
        if self._sync is not None:
            self._sync.reset()
        return self

    def close(self) -> None:
        """End the thread, and the MLLM if it was created here. May be called twice; else at garbage collection."""
        if self._sync is not None:
            self._sync.close()

    def _clip(self) -> Encoder:
        """Load CLIP once for all fits: its preprocessing determines how the loader's pictures were normalised."""
        if self._encoder is None:
            config = self._config
            given = config if config is None or isinstance(config, (Settings, Mapping)) else Path(config)
            self._encoder = ClipEncoder.load(load_settings(given, **self._settings).clip)
        return self._encoder

    def _made(self) -> SyncANTS:
        if self._sync is None:
            if not self._streaming:
                raise RequiresFittingException
            return self._learn()
        return self._sync

    def _learn(self, images: Any = None, features: Any = None) -> SyncANTS:
        made = SyncANTS.build(
            self._id_classes,
            images,
            features=features,
            streaming=self._streaming,
            encoder=self._encoder,
            backend=self._backend,
            config=self._config,
            **self._settings,
        )
        self.close()
        self._sync = made
        self._encoder = made.ants.encoder
        return made


def _outlier_scores(verdicts: Verdicts, like: Tensor) -> Tensor:
    return (1.0 - torch.from_numpy(verdicts.id_score)).to(like.device)
