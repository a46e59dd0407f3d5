"""A detector on disk, with what its streams have learned. Nothing in it is ever executed.

::

    detector.json                   plain values
    tensors-<hash>.safetensors      features
    pictures/<sha256>.png           pictures that wait to be described and that no file of the user's holds
"""

import hashlib
import json
import stat
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ants_engine.adaptation.saved import SavedState, copy_name, finite, pack_state, unpack_state
from ants_engine.adaptation.state import AdaptationState
from ants_engine.atomic_file import write_whole
from ants_engine.build_report import BuildReport
from ants_engine.class_list import ClassList
from ants_engine.config import Settings, Threshold
from ants_engine.detector import Detector
from ants_engine.errors import ClassListError, DetectorFolderError, SettingError
from ants_engine.negative_bank import NegativeBank
from ants_engine.settings_loader import load_settings

FORMAT = 3
COPIES = "pictures"
MANIFEST = "detector.json"
TENSORS = "tensors-{}.safetensors"
BANKS = ("neglabel", "ens", "vsnl")
MAX_MANIFEST, MAX_TENSORS = 256 << 20, 16 << 30
"""Bytes; a larger file was not written here."""


class _Bank(BaseModel):
    model_config = ConfigDict(extra="forbid")

    texts: list[str]
    sources: list[str]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.texts) != len(self.sources):
            raise ValueError(f"{len(self.texts)} texts and {len(self.sources)} sources")
        return self


class _Manifest(BaseModel):
    """What ``detector.json`` may hold."""

    model_config = ConfigDict(extra="forbid")

    format: int
    classes: dict[str, list[str]] = Field(min_length=1)
    order: list[str] | None = None
    """The classes in their order, where two have one name; else that of ``classes``."""
    template: str | None = None
    """How a further name is written; None in format 1."""
    own_template: bool = True
    banks: dict[str, _Bank]
    temperature: float = Field(ge=1e-6, allow_inf_nan=False)
    groups: int = Field(gt=0)
    group_length: int | None = Field(default=None, gt=0)
    grouping: Literal["equal", "reference"] = "equal"
    permute: bool = True
    union: bool = False
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

    Raises:
        DetectorFolderError: the folder cannot be written.
    """
    detector = saved.state.detector
    banks = {"neglabel": detector.initial, "ens": detector.ens, "vsnl": detector.vsnl}
    # copies: a bank may start as another one, and safetensors refuses shared memory
    tensors = {f"{name}_features": bank.features.clone().contiguous() for name, bank in banks.items()}
    state, state_tensors, copies = pack_state(saved.state, saved.settings)
    packed = save_tensors({**tensors, **state_tensors, "class_features": detector.class_features.contiguous()})
    manifest = _Manifest(
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
        union=detector.union,
        seed=detector.seed,
        weight=detector.weight,
        threshold=detector.threshold,
        state=state,
        clip_identity=dict(detector.clip_identity),
        settings=saved.settings.model_dump(mode="json"),
        report=saved.report.to_dict(),
        tensors_sha256=hashlib.sha256(packed).hexdigest(),
    )
    # earlier versions refuse a key that they do not know, so it is there where it is needed
    left_out = {"order"} if manifest.order is None else None
    text = json.dumps(manifest.model_dump(mode="json", exclude=left_out), ensure_ascii=False, indent=1) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors_file = _tensors_file(folder, manifest)
        wanted = {folder / COPIES / copy_name(digest): png for digest, png in copies.items()}
        if (folder / COPIES).is_symlink():
            # pictures would be written, and old ones removed, at a place that somebody else has chosen
            raise DetectorFolderError(f"{folder / COPIES}: a link where a folder of pictures should be; remove it")
        for path, png in wanted.items():
            path.parent.mkdir(exist_ok=True)
            write_whole(path, png())
        write_whole(tensors_file, packed)
        # the manifest decides which tensors count, so it comes after them, and before the old ones go
        write_whole(folder / MANIFEST, text.encode())
        for old in {*folder.glob(TENSORS.format("*")), *folder.glob(f"{COPIES}/{'?' * 64}.png")}:
            if old not in {tensors_file, *wanted}:
                old.unlink()
    except OSError as error:
        raise DetectorFolderError(f"{folder}: cannot be written: {error.strerror or error}") from error


def load_detector(folder: Path) -> SavedDetector:
    """Read a folder that `save_detector` wrote.

    Raises:
        DetectorFolderError: a file is missing, damaged, of another format, or does not fit the others.
    """
    try:
        manifest = _Manifest.model_validate_json(_read(folder, MANIFEST, MAX_MANIFEST))
        packed = _read(folder, _tensors_file(folder, manifest).name, MAX_TENSORS)
    except FileNotFoundError as error:
        raise DetectorFolderError(
            f"{folder}: no {Path(error.filename).name}; is this a folder from ants.save()?"
        ) from None
    except (OSError, RuntimeError) as error:
        raise DetectorFolderError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DetectorFolderError(f"{folder / MANIFEST}: damaged at {place}: {first['msg']}") from None
    if not 1 <= manifest.format <= FORMAT:
        raise DetectorFolderError(f"{folder}: format {manifest.format}; this version reads formats up to {FORMAT}")
    if hashlib.sha256(packed).hexdigest() != manifest.tensors_sha256:
        raise DetectorFolderError(f"{_tensors_file(folder, manifest)}: damaged (sha256 differs); save it again")
    try:
        return _assemble(manifest, load_tensors(packed), folder)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DetectorFolderError(f"{folder / MANIFEST}: damaged at report: {first['msg']}") from None
    except (SafetensorError, SettingError, ClassListError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DetectorFolderError(f"{folder}: its parts do not fit together: {error}") from None


def _assemble(manifest: _Manifest, tensors: dict[str, torch.Tensor], folder: Path) -> SavedDetector:
    class_features = tensors["class_features"]
    settings = load_settings(manifest.settings, environment={})
    classes = ClassList.saved(manifest.classes, manifest.order, settings.text.class_template)
    if manifest.template is not None:
        classes = replace(classes, template=manifest.template, own_template=manifest.own_template)
    dim = class_features.shape[-1]
    if class_features.shape != (len(classes), dim):
        raise ValueError(f"class_features has shape {tuple(class_features.shape)} for {len(classes)} classes")
    banks = {}
    for name in BANKS:
        bank, features = manifest.banks[name], tensors[f"{name}_features"]
        if features.shape != (len(bank.texts), dim):
            raise ValueError(f"{name} has {len(bank.texts)} texts and features of shape {tuple(features.shape)}")
        features = finite(features, f"{name}_features").to(torch.float32)
        banks[name] = NegativeBank(name, tuple(bank.texts), tuple(bank.sources), features)
    detector = Detector(
        classes=classes,
        class_features=finite(class_features, "class_features").to(torch.float32),
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
        union=manifest.union,
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


def _note_unchecked(state: SavedState, report: BuildReport) -> None:
    count = sum(item.path is not None and item.sha256 is None for item in state.known)
    note = (
        f"{count} pictures that wait to be described were saved without the sha256 of their files (by an earlier "
        "version, or the files were away): they will not be shown to the MLLM"
    )
    if count and note not in report.notes:
        report.notes.append(note)


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
        return file.read(limit)


def _tensors_file(folder: Path, manifest: _Manifest) -> Path:
    return folder / TENSORS.format(manifest.tensors_sha256[:16])
