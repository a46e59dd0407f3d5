"""ANTS as a postprocessor of OpenOOD v1.5 (https://github.com/Jingkang50/OpenOOD, arXiv 2306.09301).

::

    ants = ANTS.load("detector/")          # made with ANTS.build from unlabelled pictures
    evaluator = Evaluator(
        ZeroShotNet(ants), id_name="imagenet", preprocessor=ants.encoder.preprocess,
        postprocessor=ANTSPostprocessor(ants=ants),
    )
    evaluator.eval_ood()

OpenOOD need not be installed: without it the class has the same methods and no base class, which is enough for any
evaluator that does not check types (v1.5's `Evaluator` does).
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ants_engine.adapters.clip_inputs import InputEncoder, loader_pictures
from ants_engine.adapters.sync_ants import SyncANTS
from ants_engine.ants import ANTS
from ants_engine.common.progress import ProgressEvent, progress_reporter
from ants_engine.detector.class_file import read_class_file
from ants_engine.errors import ClassListError, NoImagesError, SettingError, UsageError

try:
    from openood.postprocessors import BasePostprocessor
except ImportError:
    BasePostprocessor = object

__all__ = ["ANTSPostprocessor", "ZeroShotNet"]

Mode = Literal["frozen", "stream", "validation"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """``postprocessor.postprocessor_args``."""

    detector: str | None = None
    """A folder that `ANTS.save` wrote."""
    id_classes: tuple[str, ...] | None = None
    """Class names in label order; in a configuration also the path of a file with a name per line."""
    settings: str | dict[str, Any] | None = None
    """For `ANTS.build`: an ``ants.toml`` or its folder, or a mapping; with a detector, a mapping of overrides."""
    mode: Mode | None = None

    @classmethod
    def read(cls, config: Any) -> "Arguments":
        """Read a configuration: OpenOOD's ``Config``, any nested mapping, any object with such attributes, or None.

        Raises:
            SettingError: a key is unknown, a value does not fit, or two contradict each other.
            ClassListError: the file of class names cannot be read.
        """
        found = _plain(_part(_part(config, "postprocessor"), "postprocessor_args")) or {}
        known = [field.name for field in fields(cls)]
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
                raise SettingError(f"postprocessor_args.{key} is unknown{hint}")
        known_mode(found.get("mode"))
        if found.get("id_classes") is not None:
            if found.get("detector") is not None:
                raise SettingError("postprocessor_args: give detector or id_classes, not both")
            found["id_classes"] = _names(found["id_classes"])
        return cls(**found)


def known_mode(mode: Any) -> Mode | None:
    """Return the mode, or None for None.

    Raises:
        SettingError: there is no such mode.
    """
    if mode is not None and mode not in get_args(Mode):
        raise SettingError(f"mode is {mode!r}; one of {', '.join(get_args(Mode))} is needed")
    found: Mode | None = mode
    return found


def _part(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def _plain(value: Any) -> Any:
    """Convert to plain mappings: OpenOOD's own interprets a dot in a key as a path."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return vars(value).copy() if hasattr(value, "__dict__") else value


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, str):
        return tuple(given)
    try:
        return tuple(read_class_file(Path(given)))
    except ClassListError as error:
        raise ClassListError(f"postprocessor_args.id_classes: {error}") from error


class ZeroShotNet(nn.Module):
    """A zero-shot classifier: logits of the ID classes, for evaluators that want a network. Has no parameters."""

    def __init__(self, ants: ANTS) -> None:
        """Use a detector's CLIP and class features.

        Raises:
            ModelNotFoundError: its CLIP cannot be found.
        """
        super().__init__()
        self._encode = InputEncoder(ants.encoder)
        self._classes = ants.detector.class_features
        self._temperature = ants.detector.temperature

    def forward(self, x: Tensor) -> Tensor:
        """Classify preprocessed pictures.

        Args:
            x: (B, 3, H, W) of float dtype, as ``ants.encoder.preprocess`` makes them.

        Returns:
            Float32 (B, C) on the device of ``x``: cosine / temperature; the highest is the class.

        Raises:
            FeatureError: ``x`` does not fit this CLIP.
        """
        with torch.no_grad():
            return self._encode(x) @ self._classes.to(x.device).T / self._temperature


class ANTSPostprocessor(BasePostprocessor):  # type: ignore[misc]
    """ANTS (arXiv 2509.03951) for OpenOOD's evaluators. ``conf`` is ``id_score``: higher = more in-distribution.

    Three modes, since OpenOOD scores each data set separately and ANTS learns from ID and OOD pictures mixed:

    - ``frozen``: scoring does not change the detector. Scores are comparable over all sets.
    - ``validation``: `setup` learns a detector from the validation pictures, ID and OOD mixed, without their labels;
      then as ``frozen``.
    - ``stream``: the method as published. Every `inference` starts from the given detector and adapts batch by batch.
      The published protocol is one loader per OOD set, ID and OOD shuffled together, as in the public code of ANTS; an
      evaluator that runs ID and OOD sets one after the other, as v1.5's does, makes it learn from ID pictures alone.

    The network that OpenOOD passes is not used: CLIP is ``ants.encoder``. Give the evaluator
    ``preprocessor=ants.encoder.preprocess`` and, for its accuracy, ``net=ZeroShotNet(ants)``.
    """

    APS_mode = False
    hyperparam_search_done = True

    def __init__(self, config: Any = None, *, ants: ANTS | None = None, mode: Mode | None = None) -> None:
        """Take a configuration, or a detector.

        Args:
            config: OpenOOD's. Read from ``postprocessor.postprocessor_args``: ``detector`` (a saved detector's folder)
                or ``id_classes`` (a list, or a file with a name per line), ``settings`` (see `ANTS.build`), ``mode``.
            ants: a detector, in place of the configured one.
            mode: in place of the configured one; by default ``frozen`` for a detector, ``stream`` for class names.

        Raises:
            SettingError: an argument is unknown or does not fit.
            ClassListError: the file of class names cannot be read.
        """
        self.config = config
        self._arguments = Arguments.read(config)
        named = ants is None and self._arguments.detector is None
        if named and self._arguments.id_classes is None:
            raise SettingError("give ants=, or postprocessor_args with detector or id_classes")
        self._mode: Mode = known_mode(mode) or self._arguments.mode or ("stream" if named else "frozen")
        if named and self._mode == "frozen":
            raise SettingError("mode frozen needs a detector that has learned: give ants=, or detector in the file")
        self._given = ants
        self._sync: SyncANTS | None = None
        self._learned = False

    @property
    def ants(self) -> ANTS:
        """The detector; built or loaded on first use.

        Raises:
            ANTSError: what `ANTS.load` or `ANTS.build` raises.
        """
        return self._ready().ants

    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        """Reset; in mode ``validation``, learn first.

        Args:
            net: not used.
            id_loader_dict: in mode ``validation``, its loader ``val`` is read.
            ood_loader_dict: the same.

        Raises:
            UsageError: in mode ``validation``, there is no loader of that name.
            ANTSError: what `ANTS.load` or `ANTS.build` raises.
        """
        if self._mode == "validation":
            ids, oods = _validation(id_loader_dict, "ID"), _validation(ood_loader_dict, "OOD")
            ready = self._ready()
            ready.learn(loader_pictures(_alternating(ids, oods), ready.ants.encoder))
            self._learned = True
        self.reset_memory()

    def reset_memory(self) -> None:
        """Restore the detector as it was given, or as `setup` built it."""
        self._ready().reset()

    def postprocess(self, net: Any, data: Tensor, path: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
        """Score one batch; in mode ``stream``, adapt to it first.

        Args:
            net: not used.
            data: (B, 3, H, W) of float dtype, as ``ants.encoder.preprocess`` makes them.
            path: the B pictures' files, to show to the MLLM; by default it is shown what CLIP sees.

        Returns:
            Predicted classes, int64 (B,), and ID scores, float32 (B,), on the device of ``data``.

        Raises:
            FeatureError: ``data`` does not fit this CLIP.
            UsageError: in mode ``validation`` without `setup`; or the detector has no CLIP.
            ANTSError: in mode ``stream``, what `ANTS.stream` raises.
        """
        if self._mode == "validation" and not self._learned:
            raise UsageError("mode validation learns in setup(net, id_loader_dict, ood_loader_dict): call it first")
        found = self._ready().score_inputs(data, path)
        pred, conf = torch.from_numpy(found.predicted), torch.from_numpy(found.id_score)
        return pred.to(data.device), conf.to(data.device)

    def inference(
        self, net: Any, data_loader: Iterable[Mapping[str, Any]], progress: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Reset, then score all batches of a loader.

        Args:
            net: not used.
            data_loader: batches with ``data`` and ``label``, and perhaps ``path``; see `postprocess`.
            progress: show a progress bar where the settings allow one.

        Returns:
            Predicted classes int64 (N,), ID scores float32 (N,), and the loader's labels int64 (N,), in its order.

        Raises:
            NoImagesError: the loader gives no batch.
            ANTSError: what `postprocess` raises.
        """
        self.reset_memory()
        bar = self.ants.settings.progress.bar
        # a stream shows its own progress bar
        if not progress or self._mode == "stream":
            bar = "off"
        preds, confs, labels = [], [], []
        with progress_reporter(bar, None) as tell:
            for number, batch in enumerate(data_loader, 1):
                pred, conf = self.postprocess(net, batch["data"], batch.get("path"))
                preds.append(pred.cpu().numpy())
                confs.append(conf.cpu().numpy())
                labels.append(np.asarray(torch.as_tensor(batch["label"]).cpu(), dtype=np.int64))
                tell(ProgressEvent("batches", number, None))
        if not preds:
            raise NoImagesError("the data loader gave no batch")
        return np.concatenate(preds), np.concatenate(confs), np.concatenate(labels)

    def close(self) -> None:
        """End the thread, and the MLLM if it was created here. May be called twice; else at garbage collection."""
        if self._sync is not None:
            self._sync.close()

    def _ready(self) -> SyncANTS:
        if self._sync is None:
            arguments, streaming = self._arguments, self._mode == "stream"
            if self._given is not None:
                self._sync = SyncANTS(self._given, streaming=streaming)
            elif arguments.detector is not None:
                overrides = arguments.settings if isinstance(arguments.settings, dict) else {}
                self._sync = SyncANTS(ANTS.load(arguments.detector, **overrides), streaming=streaming)
            else:
                self._sync = SyncANTS.build(arguments.id_classes, streaming=streaming, config=arguments.settings)
        return self._sync


def _validation(loaders: Any, side: str) -> Iterable[Any]:
    loader: Iterable[Any] | None = loaders.get("val") if isinstance(loaders, Mapping) else None
    if loader is None:
        raise UsageError(f"mode validation needs a loader 'val' among the {side} loaders that setup is given")
    return loader


def _alternating(*loaders: Iterable[Any]) -> Iterator[Any]:
    """Alternate between the loaders' batches."""
    nothing = object()
    for batches in itertools.zip_longest(*loaders, fillvalue=nothing):
        yield from (batch for batch in batches if batch is not nothing)
