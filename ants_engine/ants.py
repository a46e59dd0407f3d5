"""`ANTS`: the one class that most users meet."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.encoding import Encoder, TextSource
from ants_engine.clip.image_ref import Spool
from ants_engine.clip.sources import open_images
from ants_engine.common.features import check_features
from ants_engine.common.progress import ProgressCallback, progress_reporter
from ants_engine.common.task_errors import plain_errors
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Explanation, Scores
from ants_engine.dispatch.backend_registry import check_option_names, create_backend
from ants_engine.errors import (
    DetectorFolderError,
    ImageError,
    NoImagesError,
    SettingError,
    UsageError,
)
from ants_engine.learning.answers import Tally
from ants_engine.learning.build import Build
from ants_engine.learning.changed_settings import load_fork, with_changed_settings
from ants_engine.learning.detector_folder import SavedDetector, load_detector, save_detector
from ants_engine.learning.engine import load_clip, new_tallies, open_engine, versions
from ants_engine.learning.initial_detector import cold_detector, given_detector
from ants_engine.learning.pictures import Pictures, encode_all, encode_one
from ants_engine.learning.preflight import check_file_out, check_mllm, check_models, load_templates, merged_settings
from ants_engine.learning.report import BatchRecord, BuildReport, StreamReport
from ants_engine.learning.run_observer import RunObserver, RunObservers
from ants_engine.learning.state import AdaptationState
from ants_engine.learning.stream import Stream, run_stream
from ants_engine.protocol import Backend
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from ants_engine.settings.saved import Unconfirmed, refuse_unconfirmed, taken_over, unconfirmed

if TYPE_CHECKING:
    from os import PathLike

    from ants_engine.method.metrics import FprConvention
    from ants_engine.report.assemble import Labels


class ANTS:
    """A zero-shot OOD detector with its CLIP. Make one with `build`, `from_features` or `load`.

    Scoring (`score`, `score_features`, `explain`) is frozen: it never changes the detector, and the same picture gets
    the same score tomorrow. Streaming (`stream`) is the method as it is meant at test time: it adapts as it goes.
    """

    def __init__(
        self,
        state: AdaptationState,
        settings: Settings,
        report: BuildReport,
        encoder: Encoder | None = None,
        backend: Backend | None = None,
        spool: Spool | None = None,
    ) -> None:
        """Put the parts together; use `build`, `from_features` or `load`."""
        self._state = state
        self._settings = settings
        self._report = report
        self._encoder = encoder
        self._backend = backend
        self._spool = spool or Spool()
        self._loading = threading.Lock()
        # settings that a folder has and its user has not said
        self._unconfirmed: tuple[Unconfirmed, ...] = ()
        self._stream: Callable[[], Stream | None] = lambda: None

    @classmethod
    async def build(
        cls,
        id_classes: Iterable[str] | Mapping[str, str | Iterable[str]] | ClassList,
        images: Any = None,
        *,
        features: Any = None,
        config: "str | PathLike[str] | Mapping[str, Any] | Settings | None" = None,
        encoder: Encoder | None = None,
        backend: Backend | None = None,
        on_progress: ProgressCallback | None = None,
        observers: Iterable[RunObserver] = (),
        **settings: Any,
    ) -> "ANTS":
        """Learn a negative space from unlabelled pictures (paper section 3); without pictures, make a cold start.

        Args:
            id_classes: the names that the classifier knows, or a mapping name → prompt text(s); or the classes of
                another detector.
            images: unlabelled pictures as they come, known and unknown mixed: a path, a folder, a glob, PIL images,
                HWC uint8 arrays, bytes, a list of any of these, or any (async) iterable of pictures. Need not fit in
                memory. With neither images nor features the detector knows stage 1 alone (`neglabel_score`) until
                `stream` teaches it.
            features: (N, D) CLIP features of the same pictures; CLIP then sees none of them, and the MLLM only those
                that look unknown.
            config: an ``ants.toml``, the folder of one, a nested mapping, or finished settings.
            encoder: a loaded CLIP to use in place of the one that the settings name.
            backend: an MLLM to use in place of the one that the settings name.
            on_progress: called with a `ProgressEvent` on every step.
            observers: told of scores and answers as they come, see `RunObserver`.
            **settings: one mapping per stage, e.g. ``mllm={"backend": "openai", …}``; these win over ``config``.

        Everything that can be checked is checked before a model is loaded (`ants_engine.learning.preflight`).

        Raises:
            UsageError: the classes, pictures or settings cannot be used; one of its leaves says which and why.
            BackendError: the MLLM cannot be reached or does not know the model, and the store has no answer of it.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
            NotEnoughAnswersError: too few questions were answered.
            StoreError: the response store is damaged, or a replay misses an answer.
        """
        merged = merged_settings(config, settings, backend)
        classes = ClassList.of(id_classes, merged.text.class_template)
        pictures = None
        if images is not None or features is not None:
            pictures = await asyncio.to_thread(Pictures, images, features)
            if merged.pictures.on_error == "skip":
                await asyncio.to_thread(pictures.refuse_gone)
        await asyncio.to_thread(check_models, merged, clip=encoder is None)
        if pictures is not None:
            await check_mllm(merged, backend)
        watching = RunObservers(observers)
        report = BuildReport(versions=versions(), notes=list(classes.notes))
        load = partial(load_clip, merged, encoder)
        if pictures is not None and merged.mining.rule != "histogram":
            spool = Spool()
            async with open_engine(classes, merged, report, load, backend, spool, on_progress, watching) as engine:
                state = await Build(engine).run(pictures)
            report.notes += pictures.notes
            return cls(state, merged, report, engine.worker.encoder, backend, spool)
        with progress_reporter(merged.progress.bar, watching.beside(on_progress)) as progress, plain_errors():
            detector, found = await cold_detector(classes, merged, load, report, progress)
        cold = cls(AdaptationState.cold(detector, merged), merged, report, found, backend)
        # a stream has a bar of its own, and a terminal shows one at a time
        return cold if pictures is None else await cold._taught(pictures, on_progress, watching)

    async def _taught(self, pictures: Pictures, on_progress: ProgressCallback | None, observer: RunObservers) -> "ANTS":
        """Stream the pictures of a build through, for a rule that is only defined on a stream."""
        tallies = new_tallies()
        stream = self._streamed(pictures, self._settings, self._backend, on_progress, observer, tallies)
        async for _ in stream:
            pass
        found = stream.report
        if not found.pictures:
            raise NoImagesError("none of the pictures can be used")
        for tally in tallies.values():
            tally.check(self._settings.dispatch.min_success)
        found.lexicon_sha256 = self._report.lexicon_sha256
        found.notes = [*self._report.notes, *found.notes]
        self._report = found
        return self

    @classmethod
    def from_features(
        cls,
        id_classes: Iterable[str] | Mapping[str, str | Iterable[str]] | ClassList,
        class_features: Any,
        *,
        negative_features: Any,
        negative_texts: Sequence[str] | None = None,
        text_encoder: TextSource | Encoder | None = None,
        logit_scale: float = 100.0,
        backend: Backend | None = None,
        config: "str | PathLike[str] | Mapping[str, Any] | Settings | None" = None,
        **settings: Any,
    ) -> "ANTS":
        """Make a cold start from features that another program computed: no CLIP is loaded.

        Args:
            id_classes: as for `build`.
            class_features: (C, D) text features of the classes.
            negative_features: (M, D) text features of the initial negatives (stage 1), in their own order.
            negative_texts: what they say; numbered when left out.
            text_encoder: encodes the MLLM's texts: a mapping text → feature (D,), a function of K texts that returns
                (K, D), or an encoder. Without one, only stage 1 can be used.
            logit_scale: 1 / temperature, unless ``scoring.temperature`` is set.
            backend: as for `build`.
            config: as for `build`.
            **settings: as for `build`.

        Raises:
            UsageError: classes, features or settings do not fit.
        """
        merged = merged_settings(config, settings, backend)
        classes = ClassList.of(id_classes, merged.text.class_template)
        detector, encoder = given_detector(
            classes, class_features, negative_features, negative_texts, text_encoder, logit_scale, merged
        )
        report = BuildReport(templates=load_templates(merged).sha256s, versions=versions(), notes=list(classes.notes))
        return cls(AdaptationState.cold(detector, merged), merged, report, encoder, backend)

    def stream(
        self,
        images: Any = None,
        *,
        features: Any = None,
        batch_size: int | None = None,
        lag: int | None = None,
        backend: Backend | None = None,
        on_progress: ProgressCallback | None = None,
        observers: Iterable[RunObserver] = (),
    ) -> Stream:
        """Score pictures as they arrive, and adapt to them: ``async for scores in ants.stream(images): …``.

        Each batch's `Scores` come with ``scores.adaptation``. The detector moves on with every batch delivered, and
        `score`, `explain` and `save` use what it has become. An unreadable picture keeps its row, as for `score`.

        Args:
            images: as for `build`; endless iterables too. An iterator that ends at once gives no batch.
            features: (N, D) CLIP features of the same pictures; the MLLM then sees only those that look unknown.
            batch_size: pictures scored together, ``stream.batch_size`` when left out.
            lag: batches between the question and its effect, ``stream.lag`` when left out. 0 waits for the MLLM.
            backend: an MLLM to use in place of the one that this detector was made with.
            on_progress: called with a `ProgressEvent` on every step.
            observers: told of scores and answers as they come, see `RunObserver`.

        Raises:
            NoImagesError: there is nothing at the place that ``images`` names.
            SettingError: ``batch_size`` or ``lag`` does not fit; or a loaded folder sets what only its user may
                decide, such as a server, a key or a place to write to, and they have not said so too.
        """
        changed = {"batch_size": batch_size, "lag": lag}
        given = {key: value for key, value in changed.items() if value is not None}
        settings = load_settings(self._settings, stream=given) if given else self._settings
        if images is None and features is None:
            raise NoImagesError("give images, or features with or without images, to stream")
        own = backend is not None or self._backend is not None
        refuse_unconfirmed(self._unconfirmed, asking=True, backend_given=own)
        pictures = images if isinstance(images, Pictures) else Pictures(images, features)
        pictures.allow_none()
        return self._streamed(pictures, settings, backend or self._backend, on_progress, RunObservers(observers))

    def _streamed(
        self,
        pictures: Pictures,
        settings: Settings,
        backend: Backend | None,
        on_progress: ProgressCallback | None,
        observer: RunObservers,
        tallies: Mapping[str, Tally] | None = None,
    ) -> Stream:
        report = StreamReport(versions=dict(self._report.versions), notes=list(pictures.notes))
        # what runs must not keep the stream alive: dropping it is how it is broken off
        load = partial(load_clip, settings, self._encoder or self._load_encoder)
        classes, spool = self._state.detector.classes, self._spool
        engine = partial(open_engine, classes, settings, report, load, backend, spool, on_progress, observer, tallies)
        return Stream(self, partial(run_stream, pictures, engine, check=partial(check_mllm, settings, backend)), report)

    def begin(self, stream: Stream) -> None:
        """Note that a stream starts. Called by the stream.

        Raises:
            UsageError: another one is under way.
        """
        other = self._stream()
        if other is not None and other is not stream and other.active:
            raise UsageError("another stream of this detector is under way: finish it, or `await stream.aclose()`")
        self._stream = weakref.ref(stream)

    def adopt(self, state: AdaptationState) -> None:
        """Take over what a stream has learned with a batch. Called by the stream."""
        threshold = self._settings.scoring.threshold
        if not isinstance(threshold, str) and threshold != state.detector.threshold:
            # set while the stream was under way
            state = replace(state, detector=replace(state.detector, threshold=threshold))
        calibration = self._state.detector.calibration
        if threshold == "calibrated" and calibration is not None and state.detector.calibration is None:
            # calibrated while the stream was under way
            state = replace(state, detector=replace(state.detector, calibration=calibration).recalibrated())
        self._state = state

    def note_batch(self, record: BatchRecord, judged: Mapping[str, Any] | None) -> None:
        """Keep the record of a delivered batch, for `write_report`. Called by the stream."""
        self._report.note_batch(record, judged)

    def reset(self) -> None:
        """Forget every picture: back to the cold start. Class names, lexicon and settings stay.

        Raises:
            UsageError: a stream is under way.
        """
        other = self._stream()
        if other is not None and other.active:
            raise UsageError("a stream of this detector is under way: finish it, or `await stream.aclose()`")
        self._state = AdaptationState.cold(self._state.detector, self._settings)
        self._report.batches.clear()
        self._report.judged = None

    async def score(self, images: Any, *, on_progress: ProgressCallback | None = None) -> Scores:
        """Score pictures against the frozen negative space: one entry per picture, in input order.

        A picture that cannot be read keeps its row (NaN, unreadable) and stands in ``scores.failures``.

        Args:
            images: as for `build`.
            on_progress: called with a `ProgressEvent` after every batch.

        Raises:
            NoImagesError: there is no picture.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
        """
        stream = await asyncio.to_thread(open_images, images)
        features, names, failures = await self.look_at(stream, on_progress=on_progress)
        scores = await asyncio.to_thread(self._state.detector.score, features, names, failures)
        return replace(scores, left_out=dict(stream.left_out))

    def score_features(self, features: Any) -> Scores:
        """Score CLIP image features (N, D), numpy or torch, of the same CLIP model.

        Raises:
            FeatureError: wrong shape or dtype, or rows that are NaN, infinite or all zero.
        """
        return self._state.detector.score(features)

    async def encode(self, images: Any, *, on_progress: ProgressCallback | None = None) -> NDArray[np.float32]:
        """Return CLIP features (N, D) float32, L2-normalised, in input order.

        The rows of unreadable pictures are NaN; leave them out before `score_features`, which refuses them.

        Raises:
            NoImagesError: there is no picture.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
        """
        features, _, failures = await self.look_at(images, on_progress=on_progress)
        features[list(failures)] = float("nan")
        return np.asarray(features.numpy(), dtype=np.float32)

    def explain(self, image: Any, top: int = 3) -> Explanation:
        """Say which ID classes and negative texts are nearest to one picture, and where each text came from (blocking).

        It waits for its turn at CLIP and encodes in the calling thread: in async code call it as
        ``await asyncio.to_thread(ants.explain, picture)``. Its scores have the bits that `score` gives.

        Args:
            image: a path, PIL image, HWC uint8 array or bytes; or a CLIP feature (D,) of float dtype.
            top: texts shown per kind.

        Raises:
            ImageError: the picture cannot be used.
            FeatureError: the feature does not fit.
        """
        if isinstance(image, torch.Tensor) or (isinstance(image, np.ndarray) and image.ndim == 1):
            return self._state.detector.explain(image, "feature", top)
        refuse_unconfirmed(self._unconfirmed, asking=False)
        feature, name = encode_one(image, self._load_encoder, self._settings.pictures)
        return self._state.detector.explain(feature, name, top)

    async def write_report(
        self,
        path: "str | PathLike[str]",
        pictures: Any = None,
        *,
        features: Any = None,
        labels: "Labels | None" = None,
        run: "str | PathLike[str] | None" = None,
        title: str = "ANTS report",
        convention: "FprConvention" = "openood",
    ) -> Path:
        """Write one HTML file that shows verdicts, the texts behind them, and how the detector came about.

        Scoring is frozen. The file holds small copies of the pictures, their names and the texts, and loads nothing.

        Args:
            path: the file, replaced if it is there.
            pictures: as for `score`; those of the labels when left out, else what the detector has kept.
            features: (N, D) CLIP features of the same pictures; CLIP then sees none of them.
            labels: per picture its class, ``id`` (of no known class), ``ood``, ``near``, ``far``, or None where it is
                not known: a sequence in the order of the pictures, or a mapping by name. Or a path: a CSV of
                ``picture,class``, or a folder as `ants eval` reads it.
            run: the folder of a run, whose requests are shown too.
            title: above the page.
            convention: of the ROC curves, see ``FprConvention``.

        Returns:
            The path.

        Raises:
            NoImagesError: there is no picture, or none that can be read.
            FeatureError: the features do not fit.
            UsageError: the labels do not fit the pictures, or the file cannot be written.
            MissingDependencyError: the extra ``report`` is not installed.
        """
        from ants_engine.report.assemble import Options, detector_document
        from ants_engine.report.page import write_page

        await asyncio.to_thread(check_file_out, Path(path))
        options = Options(title=title, convention=convention)
        given = None if run is None else Path(run)
        document = await detector_document(
            self.saved, self.look_at, pictures, features=features, labels=labels, run=given, options=options
        )
        return await asyncio.to_thread(write_page, Path(path), document)

    async def calibrate(
        self,
        id_images: Any = None,
        *,
        features: Any = None,
        false_alarms: float | None = None,
        tpr: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> float:
        """Set the threshold so that at most a given share of known pictures is called unknown; return it.

        Split conformal prediction: among fresh pictures like these the expected share below the threshold is at most
        ``false_alarms``. The pictures must not be those that the detector was built on. Their features are kept with
        the detector, and scored again when a stream changes a bank, so that the threshold holds there too; scores then
        have a ``p_value``.

        Args:
            id_images: pictures known to be ID, as for `score`; of the classes, and as they come.
            features: (n, D) CLIP features in their place.
            false_alarms: in (0, 1); ``threshold.false_alarms`` when left out.
            tpr: 1 - ``false_alarms``, as in earlier versions.
            on_progress: called with a `ProgressEvent` after every batch.

        Raises:
            NoImagesError: none of the pictures can be used.
            UsageError: too few pictures for that share; names how many it takes. Or a share outside (0, 1).
        """
        rate = self._settings.threshold.false_alarms if false_alarms is None else false_alarms
        if tpr is not None:
            # 1 - 0.95 is a little more than 0.05
            rate = round(1.0 - tpr, 12)
        if features is None:
            encoded, _, failures = await self.look_at(id_images, on_progress=on_progress)
            checked = encoded[[row for row in range(len(encoded)) if row not in failures]]
        else:
            checked = check_features(features, self._state.detector.dim)
        if not len(checked):
            raise NoImagesError("there is no usable ID picture to calibrate with")
        try:
            detector = await asyncio.to_thread(self._state.detector.calibrated, checked, rate)
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._settings = load_settings(self._settings, scoring={"threshold": "calibrated"})
        self._state = replace(self._state, detector=detector)
        return self.threshold

    def save(self, folder: "str | PathLike[str]") -> None:
        """Write the detector with what its streams have learned. CLIP is named, not copied.

        In mid-stream too: `load` and a stream of the pictures from ``stream.state().pictures`` on give the same bits. A
        picture that waits to be described is named by its path, or copied when it has none.

        Raises:
            DetectorFolderError: the folder cannot be written.
        """
        save_detector(Path(folder), self.saved)

    @classmethod
    def load(
        cls,
        folder: "str | PathLike[str]",
        *,
        encoder: Encoder | None = None,
        backend: Backend | None = None,
        **settings: Any,
    ) -> "ANTS":
        """Read a saved detector. CLIP is loaded when first needed.

        The folder sets by itself what is harmless. What would send pictures or a key elsewhere, write to a place, run
        code or open a guard has to be given again here, and is refused when it would be used.

        Args:
            folder: what `save` wrote.
            encoder: a loaded CLIP to use in place of the one that the settings name.
            backend: an MLLM to use in place of the one that the settings name.
            **settings: override saved settings, e.g. ``clip={"model": "./clip"}`` on another machine. Those of
                scoring change the detector at once, those of streams what streams do from now on; see
                ``docs/configuration.md``.

        Raises:
            DetectorFolderError: a file is missing or damaged.
            SettingError: an override does not fit, is fixed in what was built, or would do nothing here.
        """
        if {"config", "environment"} & set(settings):
            raise SettingError("a saved detector has its settings; give single ones: scoring={'threshold': 0.4}")
        # each by itself, before anything is made of it
        load_settings(environment={}, **settings)
        saved = load_detector(Path(folder))
        merged = load_settings(taken_over(saved.settings, settings), environment={}, **settings)
        if backend is None and settings.get("mllm"):
            # what is misspelt would otherwise be found when a stream asks, and else never
            news = set(merged.mllm.model_extra or {}) - set(saved.settings.mllm.model_extra or {})
            check_option_names(merged.mllm, sorted(news))
        ants = cls(saved.state, merged, saved.report, None, backend)
        ants._unconfirmed = unconfirmed(saved.settings, settings)
        if encoder is not None:
            ants._encoder = ants._same_clip(encoder)
        ants.adopt(with_changed_settings(saved.state, saved.settings, merged, ants._logit_scale))
        if ants.threshold != saved.state.detector.threshold:
            # what was said of the judge is of another threshold
            ants._report.judged = None
        return ants

    def fork(self, folder: "str | PathLike[str] | None" = None) -> "ANTS":
        """Return another detector with the same CLIP, MLLM and settings, which adapts on its own from here.

        CLIP and the MLLM are shared; state, settings and report are its own.

        Args:
            folder: begin with what a stream has learned that was saved there, and not with what this one has.

        Raises:
            DetectorFolderError: the folder cannot be used, or is of another CLIP, of other classes, or built with
                other settings than this detector.
        """
        state, report = self._state, deepcopy(self._report)
        if folder is not None:
            state, report = load_fork(Path(folder), self.saved, self._logit_scale)
        other = type(self)(state, self._settings, report, self._encoder, self._backend)
        other.adopt(state)
        other._unconfirmed = self._unconfirmed
        return other

    def make_backend(self) -> Backend:
        """Make the MLLM that the settings name, for several streams to share; the caller closes it. Nothing is loaded.

        Raises:
            UsageError: it is not installed, its options do not fit, or a loaded folder sets what only its user may
                decide, such as a server or a key, and they have not said so too.
        """
        refuse_unconfirmed(self._unconfirmed, asking=True)
        return create_backend(self._settings.mllm)

    @property
    def encoder(self) -> Encoder:
        """The CLIP model, loaded when first needed.

        Raises:
            ModelNotFoundError: it cannot be found.
            DetectorFolderError: it is not the one that this detector was built with.
            SettingError: a loaded folder sets where features are kept or which pictures are read in a way that only its
                user may decide, and they have not said so too.
        """
        return self._load_encoder()

    def _load_encoder(self) -> Encoder:
        refuse_unconfirmed(self._unconfirmed, asking=False)
        with self._loading:
            if self._encoder is None:
                self._encoder = self._same_clip(ClipEncoder.load(self._settings.clip))
            return self._encoder

    def _logit_scale(self) -> float:
        known = self._state.detector.clip_identity.get("logit_scale")
        if isinstance(known, (int, float)) and 0.0 < known < float("inf"):
            return float(known)
        return self.encoder.logit_scale

    def _same_clip(self, encoder: Encoder) -> Encoder:
        built_with, found = self._state.detector.clip_identity.get("sha256"), encoder.identity_sha256
        if built_with != found:
            raise DetectorFolderError(
                f"this detector was built with another CLIP ({built_with}) than the settings name now ({found}): "
                "clip.model, clip.pretrained and clip.precision have to be those of the build"
            )
        return encoder

    @property
    def backend(self) -> Backend | None:
        """The MLLM that was given in place of the one that the settings name, if any."""
        return self._backend

    @property
    def threshold(self) -> float:
        """Below this ``id_score`` a picture is unknown. May be set, and then stays in streams to come.

        Scores lie in [0, 1]; with -0.01 no picture is unknown, with 1.01 every one is.

        Raises:
            SettingError: on setting it, no number from -0.01 to 1.01.
        """
        return self._state.detector.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        try:
            # True is no number here, as in every setting
            number = float("nan" if isinstance(value, (bool, np.bool_)) else value)
        except (TypeError, ValueError, OverflowError):
            raise SettingError(f"the threshold has to be a number, not {str(value)[:80]!r}") from None
        # what a person has set stays, however the stream goes on
        self._settings = load_settings(self._settings, scoring={"threshold": number})
        self._report.judged = None
        self._state = replace(self._state, detector=replace(self._state.detector, threshold=number))

    @property
    def weight(self) -> float:
        """Lambda: near 1 the stream's unknown pictures are far-OOD, near 0 near-OOD (paper eq. 14)."""
        return self._state.detector.weight

    @property
    def classes(self) -> tuple[str, ...]:
        """The ID class names."""
        return self._state.detector.classes.names

    @property
    def detector(self) -> Detector:
        """What scoring uses as it now is: banks, features, weight, threshold."""
        return self._state.detector

    @property
    def report(self) -> BuildReport:
        """What happened during the build."""
        return self._report

    @property
    def settings(self) -> Settings:
        """The settings that it was built with."""
        return self._settings

    @property
    def saved(self) -> SavedDetector:
        """What `save` writes: state, settings and report."""
        return SavedDetector(self._state, self._settings, self._report)

    @property
    def state(self) -> AdaptationState:
        """Everything that streams have learned so far."""
        return self._state

    def __repr__(self) -> str:
        """Name the detector's parts."""
        found = self._state.detector
        parts = f"{len(self.classes)} classes, {len(found.ens)} sentences, {len(found.vsnl)} look-alikes"
        return f"<ANTS: {parts}, lambda {self.weight:.2f}, threshold {self.threshold:.3f}>"

    async def look_at(
        self, images: Any, *, on_progress: ProgressCallback | None = None
    ) -> tuple[torch.Tensor, list[str], dict[int, ImageError]]:
        """Return features (N, D), names and failures by row, in input order; a failure's features mean nothing.

        Raises:
            NoImagesError: there is no picture.
            ImageError: with ``pictures.on_error="raise"``, the first picture that cannot be used.
        """
        stream = await asyncio.to_thread(open_images, images)
        encoder: Encoder = await asyncio.to_thread(lambda: self.encoder)
        with progress_reporter(self._settings.progress.bar, on_progress) as progress:
            return await encode_all(stream, encoder, self._settings, progress)
