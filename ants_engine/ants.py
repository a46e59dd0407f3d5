"""`ANTS`: the one class that most users meet."""

import asyncio
import platform
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.build import Build
from ants_engine.build_report import BuildReport
from ants_engine.class_list import ClassList
from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import ClipWorker
from ants_engine.config import Settings
from ants_engine.detector import Detector
from ants_engine.detector_folder import SavedDetector, load_detector, save_detector
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import ANTSError, DetectorFolderError, ImageError, NoImagesError
from ants_engine.explanation import Explanation
from ants_engine.method.threshold import tpr_threshold
from ants_engine.pictures import Pictures
from ants_engine.progress import ProgressCallback, ProgressEvent, progress_reporter
from ants_engine.protocol import Backend
from ants_engine.questions import Questions
from ants_engine.scores import Scores
from ants_engine.settings_loader import load_settings

if TYPE_CHECKING:
    from os import PathLike

PACKAGES = ("ants-engine", "torch", "open_clip_torch", "numpy", "pillow")


class ANTS:
    """A zero-shot OOD detector with its CLIP. Make one with `build` or `load`; scoring with it is frozen.

    Scoring never changes the detector: the same picture gets the same score tomorrow.
    """

    def __init__(
        self, detector: Detector, settings: Settings, report: BuildReport, encoder: ClipEncoder | None
    ) -> None:
        """Put the parts together; use `build` or `load`."""
        self._detector = detector
        self._settings = settings
        self._report = report
        self._encoder = encoder
        self._loading = threading.Lock()

    @classmethod
    async def build(
        cls,
        id_classes: Iterable[str] | Mapping[str, str | Iterable[str]],
        images: Any = None,
        *,
        features: Any = None,
        config: "str | PathLike[str] | Mapping[str, Any] | Settings | None" = None,
        encoder: ClipEncoder | None = None,
        backend: Backend | None = None,
        on_progress: ProgressCallback | None = None,
        **settings: Any,
    ) -> "ANTS":
        """Learn a negative space from unlabelled pictures (paper section 3).

        Args:
            id_classes: the names that the classifier knows, or a mapping name → prompt text(s).
            images: unlabelled pictures as they come, known and unknown mixed: paths, a folder, a glob, PIL images,
                HWC uint8 arrays, bytes, or any (async) iterable of them. Need not fit in memory.
            features: (N, D) CLIP features of the same pictures; CLIP then sees none of them, and the MLLM only those
                that look foreign.
            config: an ``ants.toml``, the folder of one, a nested mapping, or finished settings.
            encoder: a loaded CLIP to use in place of the one that the settings name.
            backend: an MLLM to use in place of the one that the settings name.
            on_progress: called with a `ProgressEvent` on every step.
            **settings: one mapping per stage, e.g. ``mllm={"backend": "openai", …}``; these win over ``config``.

        Raises:
            UsageError: the classes, pictures or settings cannot be used; one of its leaves says which and why.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            NotEnoughAnswersError: too few questions were answered.
            StoreError: the response store is damaged, or a replay misses an answer.
        """
        merged = load_settings(
            config if isinstance(config, (Settings, Mapping)) or config is None else Path(config), **settings
        )
        classes = ClassList.of(id_classes, merged.text.class_template)
        if images is None and features is None:
            raise NoImagesError("give images, or features with or without images, for the detector to learn from")
        pictures = await asyncio.to_thread(Pictures, images, features)
        try:
            with progress_reporter(merged.progress, on_progress) as progress:
                return await cls._build(classes, pictures, merged, encoder, backend, progress)
        except ANTSError:
            raise
        except BaseExceptionGroup as group:
            cause = _sole_cause(group)
            if cause is None:
                raise
            raise cause from None

    @classmethod
    async def _build(
        cls,
        classes: ClassList,
        pictures: Pictures,
        settings: Settings,
        encoder: ClipEncoder | None,
        backend: Backend | None,
        progress: ProgressCallback,
    ) -> "ANTS":
        async with Coordinator(settings, backend=backend) as coordinator:
            # templates before models: a mistake in one must not cost a download
            questions = Questions(settings, coordinator)
            if encoder is None:
                progress(ProgressEvent("model", 0, 1))
                encoder = await asyncio.to_thread(ClipEncoder.load, settings.clip)
                progress(ProgressEvent("model", 1, 1))
            async with ClipWorker(encoder) as worker:
                build = Build(classes, settings, worker, questions, progress)
                detector = await build.run(pictures)
            build.report.model_identity = dict(coordinator.identity)
            build.report.versions = _versions()
        return cls(detector, settings, build.report, encoder)

    async def score(self, images: Any, *, on_progress: ProgressCallback | None = None) -> Scores:
        """Score pictures against the frozen negative space: one entry per picture, in input order.

        A picture that cannot be read keeps its row (NaN, outlier) and stands in ``scores.failures``.

        Args:
            images: as for `build`.
            on_progress: called with a `ProgressEvent` after every batch.

        Raises:
            NoImagesError: there is no picture.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
        """
        features, names, failures = await self._encode(images, on_progress)
        return await asyncio.to_thread(self._detector.score, features, names, failures)

    def score_features(self, features: Any) -> Scores:
        """Score CLIP image features (N, D), numpy or torch, of the same CLIP model.

        Raises:
            FeatureError: wrong shape or dtype, or rows that are NaN, infinite or all zero.
        """
        return self._detector.score(features)

    async def encode(self, images: Any, *, on_progress: ProgressCallback | None = None) -> NDArray[np.float32]:
        """Return CLIP features (N, D) float32, L2-normalised, in input order.

        The rows of unreadable pictures are NaN; leave them out before `score_features`, which refuses them.

        Raises:
            NoImagesError: there is no picture.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
        """
        features, _, failures = await self._encode(images, on_progress)
        features[list(failures)] = float("nan")
        return np.asarray(features.numpy(), dtype=np.float32)

    def explain(self, image: Any, top: int = 3) -> Explanation:
        """Say which ID classes and negative texts are nearest to one picture, and where each text came from.

        Args:
            image: a path, PIL image, HWC uint8 array or bytes; or a CLIP feature (D,) of float dtype.
            top: texts shown per kind.

        Raises:
            ImageError: the picture cannot be used.
            FeatureError: the feature does not fit.
        """
        if isinstance(image, torch.Tensor) or (isinstance(image, np.ndarray) and image.ndim == 1):
            return self._detector.explain(image, "feature", top)
        name = str(image) if isinstance(image, (str, Path)) else type(image).__name__
        picture = load_rgb(image, name=name, limits=self._settings.pictures)
        return self._detector.explain(self.encoder.encode_images([picture])[0], name, top)

    async def calibrate(self, id_images: Any = None, *, features: Any = None, tpr: float = 0.95) -> float:
        """Set the threshold so that at least ``tpr`` of these pictures, all known to be ID, are kept; return it.

        Raises:
            NoImagesError: none of the pictures can be used.
            ValueError: ``tpr`` is outside (0, 1].
        """
        scores = self.score_features(features) if features is not None else await self.score(id_images)
        usable = scores.id_score[~np.isnan(scores.id_score)]
        if not len(usable):
            raise NoImagesError("there is no usable ID picture to calibrate with")
        self.threshold = tpr_threshold(torch.from_numpy(usable), tpr)
        return self.threshold

    def save(self, folder: "str | PathLike[str]") -> None:
        """Write the detector: ``detector.json`` and ``tensors.safetensors``. CLIP is named, not copied.

        Raises:
            DetectorFolderError: the folder cannot be written.
        """
        save_detector(Path(folder), SavedDetector(self._detector, self._settings, self._report))

    @classmethod
    def load(cls, folder: "str | PathLike[str]", **settings: Any) -> "ANTS":
        """Read a saved detector. CLIP is loaded when first needed.

        Args:
            folder: what `save` wrote.
            **settings: override saved settings, e.g. ``clip={"model": "./clip"}`` on another machine.

        Raises:
            DetectorFolderError: a file is missing or damaged.
            SettingError: an override does not fit.
        """
        saved = load_detector(Path(folder))
        merged = load_settings(saved.settings, environment={}, **settings)
        return cls(saved.detector, merged, saved.report, None)

    @property
    def encoder(self) -> ClipEncoder:
        """The CLIP model, loaded when first needed.

        Raises:
            ModelNotFoundError: it cannot be found.
            DetectorFolderError: it is not the one that this detector was built with.
        """
        with self._loading:
            return self._encoder or self._load_encoder()

    def _load_encoder(self) -> ClipEncoder:
        encoder = ClipEncoder.load(self._settings.clip)
        built_with, found = self._detector.clip_identity.get("sha256"), encoder.identity_sha256
        if built_with != found:
            raise DetectorFolderError(
                f"this detector was built with another CLIP ({built_with}) than clip.model names now ({found})"
            )
        self._encoder = encoder
        return encoder

    @property
    def threshold(self) -> float:
        """Below this ``id_score`` a picture is called an outlier. May be set."""
        return self._detector.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._detector = replace(self._detector, threshold=float(value))

    @property
    def weight(self) -> float:
        """Lambda: near 1 the stream's outliers are far-OOD, near 0 they are near-OOD (paper eq. 14)."""
        return self._detector.weight

    @property
    def classes(self) -> tuple[str, ...]:
        """The ID class names."""
        return self._detector.classes.names

    @property
    def detector(self) -> Detector:
        """The frozen state: banks, features, weight, threshold."""
        return self._detector

    @property
    def report(self) -> BuildReport:
        """What happened during the build."""
        return self._report

    @property
    def settings(self) -> Settings:
        """The settings that it was built with."""
        return self._settings

    def __repr__(self) -> str:
        """Name the detector's parts."""
        parts = (
            f"{len(self.classes)} classes, {len(self._detector.ens)} sentences, {len(self._detector.vsnl)} look-alikes"
        )
        return f"<ANTS: {parts}, lambda {self.weight:.2f}, threshold {self.threshold:.3f}>"

    async def _encode(
        self, images: Any, on_progress: ProgressCallback | None
    ) -> tuple[torch.Tensor, list[str], dict[int, ImageError]]:
        """Return features (N, D), names and failures by row, in input order."""
        encoder: ClipEncoder = await asyncio.to_thread(lambda: self.encoder)
        stream = await asyncio.to_thread(open_images, images)
        rows: dict[int, tuple[str, torch.Tensor | None]] = {}
        failures: dict[int, ImageError] = {}
        with progress_reporter(self._settings.progress, on_progress) as progress:
            async with ClipWorker(encoder) as worker:
                async for batch in worker.image_batches(
                    stream, self._settings.clip.batch_size, self._settings.pictures
                ):
                    for ref, feature in zip(batch.refs, batch.features, strict=True):
                        rows[ref.index] = (ref.name, feature)
                    for ref, error in batch.failures:
                        rows[ref.index] = (ref.name, None)
                        failures[ref.index] = error
                    progress(ProgressEvent("pictures", len(rows), stream.total))
        if not rows:
            raise NoImagesError("there are no pictures to score")
        blank = torch.zeros(encoder.dim)
        ordered = [rows[index] for index in sorted(rows)]
        features = torch.stack([blank if feature is None else feature for _, feature in ordered])
        return features, [name for name, _ in ordered], failures


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _sole_cause(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the first error of a task group in which all are ours or of one type, so that it can be caught by type."""
    leaves = list(_leaves(group))
    if len({type(leaf) for leaf in leaves}) > 1 and not all(isinstance(leaf, ANTSError) for leaf in leaves):
        return None
    for other in dict.fromkeys(f"{type(leaf).__name__}: {leaf}" for leaf in leaves[1:6]):
        if other != f"{type(leaves[0]).__name__}: {leaves[0]}":
            leaves[0].add_note(f"at the same time: {other}")
    return leaves[0]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    # an error of ours that is a group means itself, not its parts
    if isinstance(error, BaseExceptionGroup) and not isinstance(error, ANTSError):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
