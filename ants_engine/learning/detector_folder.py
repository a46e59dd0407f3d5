"""A detector on disk, with what its streams have learned. Nothing in it is ever executed.

::

    detector.json                   plain values
    tensors-<hash>.safetensors      features
    pictures/<sha256>.png           pictures that wait to be described and that no file of the user's holds
    detector.lock                   held while a detector is saved; empty

Processes that save into one folder do so one after the other. Who loads needs no lock, and may not be able to write:
the manifest is replaced in one step, and names the other files by their content.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ants_engine.common.atomic_file import read_at_most, write_whole
from ants_engine.common.canonical_json import first_fault, readable
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Calibration, Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.errors import ClassListError, DetectorFolderError, SettingError
from ants_engine.learning.report import AnyText, BuildReport
from ants_engine.learning.saved_state import SavedState, copy_name, pack_state, unit_rows, unpack_state
from ants_engine.learning.state import AdaptationState
from ants_engine.settings.config import Settings, Threshold
from ants_engine.settings.loader import load_settings

FORMAT = 4
COPIES = "pictures"
LOCK = "detector.lock"
LOCK_PATIENCE = 60.0
"""Seconds that another process may go on saving into the folder."""
MANIFEST = "detector.json"
TENSORS = "tensors-{}.safetensors"
BANKS = ("neglabel", "ens", "vsnl")
MAX_MANIFEST, MAX_TENSORS = 256 << 20, 16 << 30
"""Bytes; a larger file was not written here."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOKS = 20
"""Tries to read a detector that others keep replacing."""
_LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system says that knows no locks."""


class _Bank(BaseModel):
    model_config = ConfigDict(extra="forbid")

    texts: list[AnyText]
    sources: list[AnyText]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.texts) != len(self.sources):
            raise ValueError(f"{len(self.texts)} texts and {len(self.sources)} sources")
        return self


class _Manifest(BaseModel):
    """What ``detector.json`` may hold."""

    model_config = ConfigDict(extra="forbid")

    format: int
    classes: dict[AnyText, list[AnyText]] = Field(min_length=1)
    order: list[AnyText] | None = None
    """The classes in their order, where two have one name; else that of ``classes``."""
    template: AnyText | None = None
    """How a further name is written; None in format 1."""
    own_template: bool = True
    banks: dict[str, _Bank]
    temperature: float = Field(ge=1e-6, allow_inf_nan=False)
    groups: int = Field(gt=0)
    group_length: int | None = Field(default=None, gt=0)
    grouping: Literal["equal", "reference"] = "equal"
    permute: bool = True
    union: bool = False
    """Of formats up to 3; ``fusion`` says it since."""
    fusion: Literal["adaptive", "union", "pool"] | None = None
    false_alarms: float | None = Field(default=None, gt=0, lt=1)
    """What a calibration aimed at; None where there was none."""
    seed: int = Field(ge=-(1 << 63), lt=1 << 63)
    weight: float = Field(ge=0, le=1)
    threshold: Threshold
    clip_identity: dict[str, Any]
    settings: dict[str, Any]
    report: dict[str, Any]
    state: SavedState | None = None
    """What streams have learned; None in format 1."""
    tensors_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True)
class SavedDetector:
    """What a detector folder holds."""

    state: AdaptationState
    settings: Settings
    report: BuildReport


def save_detector(folder: Path, saved: SavedDetector) -> None:
    """Write the folder; an existing detector in it is replaced, and stays whole until the new one is.

    Of what is there only the files that the replaced manifest names are removed.

    Raises:
        DetectorFolderError: the folder cannot be written, another process keeps saving into it, or this detector could
            not be loaded again.
    """
    state, state_tensors, copies = pack_state(saved.state, saved.settings)
    packed = save_tensors(_bank_tensors(saved.state.detector) | state_tensors)
    tensors_sha256 = hashlib.sha256(packed).hexdigest()
    try:
        manifest = _manifest(saved, state, tensors_sha256)
        # earlier versions refuse a key that they do not know, so it is there where it is needed
        left_out = {"order"} if manifest.order is None else None
        text = f"{readable(manifest.model_dump(exclude=left_out), indent=1)}\n".encode()
        # what could not be read back must not replace what can
        _assemble(manifest, load_tensors(packed), folder)
    except ValidationError as error:
        raise DetectorFolderError(
            f"{folder}: this detector cannot be saved: {first_fault(error, 'the file')}"
        ) from None
    except _MISFITS as error:
        raise DetectorFolderError(f"{folder}: this detector cannot be saved: {error}") from None
    for data, limit, what in ((text, MAX_MANIFEST, MANIFEST), (packed, MAX_TENSORS, "features")):
        if len(data) > limit:
            raise DetectorFolderError(
                f"{folder}: this detector cannot be saved: {what} of {len(data):,} bytes, more than {limit:,}; a "
                "smaller stream.history keeps less"
            )
    tensors_file = folder / _tensors_name(tensors_sha256)
    wanted = {folder / COPIES / copy_name(digest): png for digest, png in copies.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / COPIES).is_symlink():
            # pictures would be written, and old ones removed, at a place that somebody else has chosen
            raise DetectorFolderError(f"{folder / COPIES}: a link where a folder of pictures should be; remove it")
        with _locked(folder):
            replaced = _named_files(folder)
            for path, png in wanted.items():
                path.parent.mkdir(exist_ok=True)
                write_whole(path, png())
            write_whole(tensors_file, packed)
            # the manifest decides which files count, so it comes after them, and before the old ones go
            write_whole(folder / MANIFEST, text)
            for old in replaced - {tensors_file, *wanted}:
                old.unlink(missing_ok=True)
    except Timeout:
        raise DetectorFolderError(
            f"{folder}: another process has been saving into it for {LOCK_PATIENCE:g} s; wait for it, or end it"
        ) from None
    except OSError as error:
        raise DetectorFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error


def load_detector(folder: Path) -> SavedDetector:
    """Read a folder that `save_detector` wrote, also while others save into it.

    Raises:
        DetectorFolderError: a file is missing, damaged, of another format, or does not fit the others.
    """
    try:
        manifest, packed = _read_both(folder)
    except FileNotFoundError as error:
        raise DetectorFolderError(
            f"{folder}: no {Path(error.filename).name}; is this a folder from ants.save()?"
        ) from None
    except (OSError, RuntimeError) as error:
        raise DetectorFolderError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if hashlib.sha256(packed).hexdigest() != manifest.tensors_sha256:
        tensors_file = folder / _tensors_name(manifest.tensors_sha256)
        raise DetectorFolderError(f"{tensors_file}: damaged (sha256 differs); save it again")
    try:
        return _assemble(manifest, load_tensors(packed), folder)
    except ValidationError as error:
        raise DetectorFolderError(f"{folder / MANIFEST}: damaged at report: {first_fault(error, 'the file')}") from None
    except _MISFITS as error:
        raise DetectorFolderError(f"{folder}: its parts do not fit together: {error}") from None


_MISFITS = (
    SafetensorError, SettingError, ClassListError, LookupError, ValueError, TypeError, ArithmeticError, RuntimeError,
)  # fmt: skip
"""What parts raise that do not fit together, or cannot be spelled."""


def _bank_tensors(detector: Detector) -> dict[str, torch.Tensor]:
    banks = {"neglabel": detector.initial, "ens": detector.ens, "vsnl": detector.vsnl}
    # copies: a bank may start as another one, and safetensors refuses shared memory
    tensors = {f"{name}_features": bank.features.clone().contiguous() for name, bank in banks.items()}
    if detector.calibration is not None:
        tensors["calibration_features"] = detector.calibration.features.clone().contiguous()
        tensors["calibration_scores"] = detector.calibration.scores.clone().contiguous()
    return tensors | {"class_features": detector.class_features.contiguous()}


def _manifest(saved: SavedDetector, state: SavedState, tensors_sha256: str) -> _Manifest:
    detector = saved.state.detector
    banks = {"neglabel": detector.initial, "ens": detector.ens, "vsnl": detector.vsnl}
    return _Manifest(
        format=FORMAT,
        classes={
            name: list(texts) for name, texts in zip(detector.classes.names, detector.classes.prompts, strict=True)
        },
        order=detector.classes.order(),
        template=detector.classes.template,
        own_template=detector.classes.own_template,
        banks={name: _Bank(texts=list(bank.texts), sources=list(bank.sources)) for name, bank in banks.items()},
        temperature=detector.temperature,
        groups=detector.groups,
        group_length=detector.group_length,
        grouping=detector.grouping,
        permute=detector.permute,
        fusion=detector.fusion,
        false_alarms=None if detector.calibration is None else detector.calibration.false_alarms,
        seed=detector.seed,
        weight=detector.weight,
        threshold=detector.threshold,
        state=state,
        clip_identity=dict(detector.clip_identity),
        settings=saved.settings.model_dump(mode="json"),
        report=saved.report.to_dict(),
        tensors_sha256=tensors_sha256,
    )


def _read_both(folder: Path) -> tuple[_Manifest, bytes]:
    """Read the manifest and the tensors that it names.

    Raises:
        OSError: one of them cannot be read.
        DetectorFolderError: the manifest is damaged.
    """
    before = None
    for _ in range(_LOOKS):
        found = _read(folder, MANIFEST, MAX_MANIFEST)
        manifest = _parsed(found, folder)
        try:
            return manifest, _read(folder, _tensors_name(manifest.tensors_sha256), MAX_TENSORS)
        except FileNotFoundError:
            # another process may have replaced the detector between the two; if not, the file is missing
            if found == before:
                raise
            before = found
    raise DetectorFolderError(f"{folder}: other processes keep replacing this detector; load it again")


def _parsed(data: bytes, folder: Path) -> _Manifest:
    try:
        manifest = _Manifest.model_validate(json.loads(data))
    except ValidationError as error:
        raise DetectorFolderError(f"{folder / MANIFEST}: damaged at {first_fault(error, 'the file')}") from None
    except (ValueError, RecursionError) as error:
        raise DetectorFolderError(f"{folder / MANIFEST}: damaged, not JSON: {error}") from None
    if not 1 <= manifest.format <= FORMAT:
        raise DetectorFolderError(f"{folder}: format {manifest.format}; this version reads formats up to {FORMAT}")
    return manifest


def _named_files(folder: Path) -> set[Path]:
    """Return the files beside it that the manifest now in the folder names; none where it cannot be read."""
    try:
        data = json.loads(_read(folder, MANIFEST, MAX_MANIFEST))
        tensors = [data["tensors_sha256"]]
        known = (data.get("state") or {}).get("known", [])
        pictures = [item["copy_sha256"] for item in known if item.get("copy_sha256") is not None]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, DetectorFolderError):
        return set()
    named = [(folder, _tensors_name, digest) for digest in tensors]
    named += [(folder / COPIES, copy_name, digest) for digest in pictures]
    # a digest and nothing else: the manifest may be anybody's
    return {
        place / name(digest) for place, name, digest in named if isinstance(digest, str) and _SHA256.fullmatch(digest)
    }


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system takes back from a process that ends.

    Raises:
        Timeout: another process has held it for too long.
        OSError: the lock's file cannot be made or opened.
        DetectorFolderError: something else lies in its place.
    """
    path = folder / LOCK
    try:
        # made here, so that the umask decides who else may save
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise DetectorFolderError(
                f"{path}: a link or no file, where the folder's lock should be; remove it"
            ) from None
    lock = FileLock(path, timeout=LOCK_PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        # nobody can hold it here: processes that save at the same time are on their own
    try:
        yield
    finally:
        lock.release()


def _assemble(manifest: _Manifest, tensors: dict[str, torch.Tensor], folder: Path) -> SavedDetector:
    settings = load_settings(manifest.settings, environment={})
    classes = ClassList.saved(manifest.classes, manifest.order, settings.text.class_template)
    if manifest.template is not None:
        classes = replace(classes, template=manifest.template, own_template=manifest.own_template)
    class_features = unit_rows(tensors["class_features"], None, "class_features", len(classes))
    dim = int(class_features.shape[1])
    banks = {}
    for name in BANKS:
        bank, what = manifest.banks[name], f"{name}_features"
        features = unit_rows(tensors[what], dim, what, len(bank.texts))
        banks[name] = NegativeBank(name, tuple(bank.texts), tuple(bank.sources), features)
    detector = Detector(
        classes=classes,
        class_features=class_features,
        initial=banks["neglabel"],
        ens=banks["ens"],
        vsnl=banks["vsnl"],
        temperature=manifest.temperature,
        groups=manifest.groups,
        seed=manifest.seed,
        weight=manifest.weight,
        threshold=manifest.threshold,
        clip_identity=manifest.clip_identity,
        group_length=manifest.group_length,
        grouping=manifest.grouping,
        permute=manifest.permute,
        calibration=_calibration(manifest, tensors, dim),
        fusion=manifest.fusion or ("union" if manifest.union else "adaptive"),
    )
    known = {field.name for field in fields(BuildReport)}
    report = TypeAdapter(BuildReport).validate_python({k: v for k, v in manifest.report.items() if k in known})
    if manifest.state is None:
        # saved before streams were: the banks are there, the history is not
        state = replace(AdaptationState.cold(detector, settings), detector=detector)
    else:
        state = unpack_state(manifest.state, tensors, folder / COPIES, detector, settings)
        _note_unchecked(manifest.state, report)
    return SavedDetector(state, settings, report)


def _calibration(manifest: _Manifest, tensors: dict[str, torch.Tensor], dim: int) -> Calibration | None:
    if manifest.false_alarms is None:
        return None
    features = unit_rows(tensors["calibration_features"], dim, "calibration_features")
    scores = tensors["calibration_scores"]
    if scores.shape != features.shape[:1] or scores.dtype != torch.float32 or not bool(scores.isfinite().all()):
        raise ValueError("calibration_scores: one finite float32 score per calibration picture is expected")
    return Calibration(features, manifest.false_alarms, scores)


def _note_unchecked(state: SavedState, report: BuildReport) -> None:
    count = sum(item.path is not None and item.sha256 is None for item in state.known)
    said = (
        "pictures that wait to be described were saved without the sha256 of their files (by an earlier "
        "version, or the files were away): they will not be shown to the MLLM"
    )
    # of an earlier load, maybe with another number
    report.notes[:] = [note for note in report.notes if not note.endswith(said)]
    if count:
        report.notes.append(f"{count} {said}")


def _read(folder: Path, name: str, limit: int) -> bytes:
    """Read a file that lies in the folder itself.

    Raises:
        DetectorFolderError: it is a link to elsewhere, no regular file, or too large.
        OSError: it cannot be read.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DetectorFolderError(f"{path}: a link that leads out of the folder; put the file itself there")
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise DetectorFolderError(f"{path}: not a regular file")
    if info.st_size > limit:
        raise DetectorFolderError(f"{path}: {info.st_size:,} bytes, more than the {limit:,} that such a file can have")
    with path.open("rb") as file:
        return read_at_most(file, limit)


def _tensors_name(sha256: str) -> str:
    return TENSORS.format(sha256[:16])
