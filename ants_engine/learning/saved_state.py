"""The state of a stream as plain values and tensors, for a detector folder, and back."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from ants_engine.clip.decode import CheckedFile, file_sha256
from ants_engine.clip.image_ref import Held, ImageRef
from ants_engine.clip.picture import png_bytes, shrink
from ants_engine.detector.detector import ActivationRanking, Detector
from ants_engine.errors import ImageError
from ants_engine.learning.report import AnyText
from ants_engine.learning.state import (
    AdaptationState,
    AskedPictures,
    Candidate,
    Candidates,
    Caption,
    EnsUpdate,
    JudgeUpdate,
    Update,
    VsnlUpdate,
)
from ants_engine.method.spread import EpsilonNet
from ants_engine.settings.config import Settings

_ROWS = ("recent",)
_ASKED = ("votes", "answers", "sampled")
_SCORES = ("recent_initial", "recent_scores", "past_scores", "activation_scores")
_PLAIN = (
    "gamma", "batch", "pictures", "looked", "members", "ens_updates", "held", "far_sum", "near_sum", "balanced",
)  # fmt: skip


LENGTH_TOLERANCE = 0.01
"""How far from 1 the length of a feature may be. Ours are off by 1e-6; a folder in bfloat16 rounds each component, and
so the length, by up to 0.4 %. What is further off was not written here, and makes scores of NaN where it is far off."""
SCORE_TOLERANCE = 0.005
"""How far outside of [0, 1] a score may be: what rounding to bfloat16 does."""
_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types that a folder may hold real numbers in: not float8, which keeps too little of a feature."""

NonNegativeInt = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A count or a position that no tensor's arithmetic overflows."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SavedCandidate(_Strict):
    """A picture that may still have to be described."""

    id: NonNegativeInt
    name: AnyText
    predicted: NonNegativeInt
    path: AnyText | None = None
    """Where it is, if it is a file."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of the file's content: it is shown to the MLLM only while it has this digest."""
    copy_sha256: str | None = None
    """The name of its copy in the folder, if it is none."""


class SavedUpdate(_Strict):
    """An update that is not in effect yet."""

    kind: Literal["ens", "vsnl", "judge"]
    due: NonNegativeInt
    asked: list[NonNegativeInt]
    """Ids of candidates, or classes."""
    members: list[NonNegativeInt]


class SavedState(_Strict):
    """Everything of an `AdaptationState` that is neither the detector nor a tensor."""

    gamma: FiniteFloat
    batch: NonNegativeInt
    pictures: NonNegativeInt
    looked: NonNegativeInt
    members: list[NonNegativeInt]
    ens_updates: NonNegativeInt
    held: list[NonNegativeInt]
    far_sum: FiniteFloat
    near_sum: FiniteFloat
    balanced: NonNegativeInt
    candidates: list[NonNegativeInt]
    """Ids, oldest first."""
    known: list[SavedCandidate]
    """Every candidate of the history and of the updates."""
    captions: dict[NonNegativeInt, tuple[AnyText | None, AnyText] | tuple[AnyText | None, AnyText, bool | None]]
    """Text, picture and, since format 4, whether it shows an ID class."""
    labels: dict[NonNegativeInt, list[AnyText]]
    pending: list[SavedUpdate]
    activation_step: NonNegativeInt = 0
    asked: list[AnyText] = Field(default_factory=list)
    """Names of the pictures that the MLLM was asked to verify; since format 4, as is what follows."""
    purity: float = Field(default=0.0, ge=0, le=1)
    net: tuple[Annotated[float, Field(ge=-1, le=1)], NonNegativeInt, NonNegativeInt] = (EpsilonNet().cosine, 0, 0)
    """Cosine, pictures decided, pictures described."""
    sampled: NonNegativeInt = 0


def pack_state(
    state: AdaptationState, settings: Settings
) -> tuple[SavedState, dict[str, Tensor], dict[str, Callable[[], bytes]]]:
    """Take a state apart.

    Returns:
        Plain values; tensors; and, by sha256, functions that give the PNG of each picture that no file holds.
    """
    copies: dict[str, Callable[[], bytes]] = {}
    asked = [item for update in state.pending if not isinstance(update, VsnlUpdate) for item in update.asked]
    # what has been described is not shown again
    known = {item.id: item for item in (*state.candidates.items.values(), *asked)}
    saved = SavedState(
        **{name: getattr(state, name) for name in _PLAIN},
        candidates=list(state.candidates.items),
        known=[_candidate(item, item.id in state.captions, settings, copies) for item in known.values()],
        captions={key: (caption.text, caption.source, caption.is_id) for key, caption in state.captions.items()},
        labels={key: list(labels) for key, labels in state.labels.items()},
        pending=[_update(update) for update in state.pending],
        activation_step=0 if state.detector.activation is None else state.detector.activation.step,
        asked=list(state.asked.names),
        purity=state.detector.purity,
        net=(state.net.cosine, state.net.seen, state.net.chosen),
        sampled=state.sampled,
    )
    tensors = {name: getattr(state, name).tensor() for name in (*_ROWS, *_SCORES)}
    tensors |= {name: getattr(state, name) for name in ("class_counts", "first_seen", "feature_sum", "negatives")}
    tensors |= {"candidate_scores": state.candidates.scores.tensor()}
    tensors |= {"candidate_features": state.candidates.features.tensor()}
    if len(state.recent_votes):
        tensors["recent_votes"] = state.recent_votes.tensor()
    if len(state.asked):
        tensors |= {f"asked_{name}": getattr(state.asked, name).tensor() for name in ("features", *_ASKED)}
    if len(state.net.described):
        tensors["net"] = state.net.described
    if state.detector.activation is not None:
        tensors["activation_rows"] = state.detector.activation.rows
    for place, update in enumerate(state.pending):
        if not isinstance(update, VsnlUpdate):
            tensors[f"pending_{place}"] = update.features
    # a copy of each: two of them may be the same memory, which safetensors refuses
    return saved, {f"state_{name}": tensor.clone().contiguous() for name, tensor in tensors.items()}, copies


def unpack_state(
    saved: SavedState, tensors: Mapping[str, Tensor], copies: Path, detector: Detector, settings: Settings
) -> AdaptationState:
    """Put a state together again.

    Args:
        saved: plain values.
        tensors: those of `pack_state`, and maybe others.
        copies: the folder of the pictures that no file holds.
        detector: with its banks.
        settings: the bounds.

    Raises:
        KeyError: a tensor is missing.
        ValueError: parts do not fit together.
    """
    cold = AdaptationState.cold(detector, settings)
    dim = detector.dim
    rows: dict[str, Any] = {
        **{name: getattr(cold, name).append(unit_rows(tensors[f"state_{name}"], dim, name)) for name in _ROWS},
        **{name: getattr(cold, name).append(_scores(tensors[f"state_{name}"], name)) for name in _SCORES},
    }
    known = {item.id: _reference(item, copies) for item in saved.known}
    candidates = Candidates(
        {key: known[key] for key in saved.candidates},
        cold.candidates.scores.append(_scores(tensors["state_candidate_scores"], "candidate_scores")),
        cold.candidates.features.append(unit_rows(tensors["state_candidate_features"], dim, "candidate_features")),
    )
    if "state_recent_votes" in tensors or (detector.fusion == "pool" and len(rows["recent"])):
        rows["recent_votes"] = cold.recent_votes.append(_finite(tensors["state_recent_votes"], "recent_votes"))
        if len(rows["recent_votes"]) != len(rows["recent"]):
            raise ValueError("recent features and recent votes differ in number")
    if len(rows["recent"]) != len(rows["recent_initial"]):
        raise ValueError("recent features and recent scores differ in number")
    if not len(candidates.items) == len(candidates.scores) == len(candidates.features):
        raise ValueError("candidates, their scores and their features differ in number")
    fixed: dict[str, Any] = {}
    for name in ("class_counts", "first_seen", "feature_sum"):
        fixed[name] = tensors[f"state_{name}"]
        if fixed[name].shape != getattr(cold, name).shape or fixed[name].dtype != getattr(cold, name).dtype:
            raise ValueError(f"{name} has shape {tuple(fixed[name].shape)} and type {fixed[name].dtype}")
    _check_sums(saved, fixed)
    if saved.activation_step:
        ranking = ActivationRanking(tensors["state_activation_rows"], saved.activation_step)
        if ranking.rows.dtype != torch.int64 or ranking.rows.ndim != 1 or not len(ranking.rows):
            raise ValueError(f"the activation ranking has shape {tuple(ranking.rows.shape)}")
        if not 0 <= int(ranking.rows.min()) <= int(ranking.rows.max()) < len(detector.ens):
            raise ValueError("the activation ranking names sentences that are not there")
        detector = replace(detector, activation=ranking)
    classes = len(detector.classes)
    named = [*saved.held, *saved.labels, *(item.predicted for item in saved.known)]
    named += [index for update in saved.pending if update.kind == "vsnl" for index in (*update.asked, *update.members)]
    if any(index >= classes for index in named):
        raise ValueError(f"a class above {classes - 1} is named")
    plain = {name: getattr(saved, name) for name in _PLAIN} | {
        "members": tuple(saved.members),
        "held": tuple(saved.held),
    }
    asked = _asked(saved, tensors, dim, cold.asked)
    if saved.purity > 0.0:
        detector = replace(detector, verified=asked.verified(), purity=saved.purity)
    net = EpsilonNet(cosine=saved.net[0], seen=saved.net[1], chosen=saved.net[2])
    if net.chosen:
        net = replace(net, described=unit_rows(tensors["state_net"], dim, "net"))
    return replace(
        cold,
        detector=detector,
        asked=asked,
        net=net,
        sampled=saved.sampled,
        **plain,
        **rows,
        **fixed,
        negatives=unit_rows(tensors["state_negatives"], dim, "negatives"),
        candidates=candidates,
        captions={key: Caption(*caption) for key, caption in saved.captions.items()},
        labels={key: tuple(labels) for key, labels in saved.labels.items()},
        pending=tuple(
            _restored(update, known, tensors.get(f"state_pending_{place}"), dim)
            for place, update in enumerate(saved.pending)
        ),
    )


def _candidate(
    item: Candidate, described: bool, settings: Settings, copies: dict[str, Callable[[], bytes]]
) -> SavedCandidate:
    saved = SavedCandidate(id=item.id, name=item.name, predicted=item.predicted)
    if item.ref is None or described:
        return saved
    if item.ref.key is not None:
        source = item.ref.held.source
        # a digest that was loaded stays, even none: a file that a folder named is not made good by saving it again
        digest = source.sha256 if isinstance(source, CheckedFile) else file_sha256(item.ref.key)
        return saved.model_copy(update={"path": item.ref.key, "sha256": digest})
    try:
        packed = png_bytes(shrink(item.ref.load(settings.pictures), settings.mllm.image_max_side))
    except ImageError:
        # the stream would find that out when it asks; one picture less must not cost all that was learned
        return saved
    digest = hashlib.sha256(packed).hexdigest()
    copies[digest] = lambda: packed
    return saved.model_copy(update={"copy_sha256": digest})


def _reference(item: SavedCandidate, copies: Path) -> Candidate:
    ref: ImageRef | None = None
    if item.path is not None:
        path = Path(item.path).absolute().as_posix()
        ref = ImageRef(item.id, item.name, path, True, Held(CheckedFile(path, item.sha256)))
    elif item.copy_sha256 is not None:
        # no file of the user's: without a key it is copied again, and not named, when it is saved again
        copy = (copies.absolute() / copy_name(item.copy_sha256)).as_posix()
        ref = ImageRef(item.id, item.name, None, True, Held(CheckedFile(copy, item.copy_sha256, is_copy=True)))
    return Candidate(item.id, item.name, item.predicted, ref)


def copy_name(sha256: str) -> str:
    """Return the file name of a picture's copy.

    Raises:
        ValueError: that is no digest, and might be a path to elsewhere.
    """
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ValueError("a picture's copy is not named by a sha256")
    return f"{sha256}.png"


def _asked(saved: SavedState, tensors: Mapping[str, Tensor], dim: int, cold: AskedPictures) -> AskedPictures:
    if not saved.asked:
        return cold
    features = unit_rows(tensors["state_asked_features"], dim, "asked_features", len(saved.asked))
    parts = {name: _finite(tensors[f"state_asked_{name}"], f"asked_{name}") for name in _ASKED}
    if any(len(part) != len(features) for part in parts.values()):
        raise ValueError("pictures asked about, their votes and their answers differ in number")
    queues = {name: getattr(cold, name).append(part) for name, part in parts.items()}
    names = tuple(saved.asked)[-cold.votes.limit :]
    return replace(cold, features=cold.features.append(features), names=names, **queues)


def _finite(values: Tensor, what: str) -> Tensor:
    # as they are kept: float32 has no room for every float64
    kept = _real(values, what).to(torch.float32)
    if kept.ndim != 1 or not bool(kept.isfinite().all()):
        raise ValueError(f"{what}: a vector of finite numbers is expected, not shape {tuple(kept.shape)}")
    return kept


def _update(update: Update) -> SavedUpdate:
    if not isinstance(update, VsnlUpdate):
        asked: Iterable[int] = (item.id for item in update.asked)
        kind: Literal["ens", "judge"] = "judge" if isinstance(update, JudgeUpdate) else "ens"
        return SavedUpdate(kind=kind, due=update.due, asked=list(asked), members=list(update.members))
    return SavedUpdate(kind="vsnl", due=update.due, asked=list(update.asked), members=list(update.members))


def _restored(update: SavedUpdate, known: Mapping[int, Candidate], features: Tensor | None, dim: int) -> Update:
    if update.kind == "vsnl":
        return VsnlUpdate(update.due, tuple(update.asked), tuple(update.members))
    if features is None:
        raise ValueError("the features of an update are missing")
    asked = tuple(known[key] for key in update.asked)
    if not set(update.asked) <= set(update.members):
        raise ValueError("an update asks about a picture that is none of its members")
    found = JudgeUpdate if update.kind == "judge" else EnsUpdate
    rows = unit_rows(features, dim, "the features of an update", len(update.members))
    return found(update.due, asked, tuple(update.members), rows)


def unit_rows(features: Tensor, dim: int | None, what: str, rows: int | None = None) -> Tensor:
    """Return features as float32 (N, D), each of length 1 but for `LENGTH_TOLERANCE`.

    Args:
        features: of any shape and type.
        dim: D; any but 0 when None.
        what: they are, in an error.
        rows: N; any when None.

    Raises:
        ValueError: they are of another shape, type or length.
    """
    shape = tuple(features.shape)
    if len(shape) != 2 or shape[1] == 0 or dim not in (None, shape[1]) or rows not in (None, shape[0]):
        raise ValueError(f"{what}: shape {shape} where ({'N' if rows is None else rows}, {dim or 'D'}) is expected")
    lengths = torch.linalg.vector_norm(_real(features, what), dim=1, dtype=torch.float64)
    # NaN is in no range
    if not bool(((lengths - 1.0).abs() <= LENGTH_TOLERANCE).all()):
        raise ValueError(f"{what}: not every row is a finite feature of length 1")
    return features.to(torch.float32)


def _scores(scores: Tensor, what: str) -> Tensor:
    if scores.ndim != 1:
        raise ValueError(f"{what}: shape {tuple(scores.shape)} where (N,) is expected")
    if not bool(((_real(scores, what).double() - 0.5).abs() <= 0.5 + SCORE_TOLERANCE).all()):
        raise ValueError(f"{what}: not every score is in [0, 1]")
    return scores


def _real(numbers: Tensor, what: str) -> Tensor:
    if numbers.dtype not in _REAL:
        raise ValueError(f"{what}: of type {numbers.dtype}, not one of {', '.join(map(str, _REAL))}")
    return numbers


def _check_sums(saved: SavedState, fixed: Mapping[str, Tensor]) -> None:
    """Refuse counts below 0, and sums that so many pictures cannot have.

    Raises:
        ValueError: there are such.
    """
    if any(bool((fixed[name] < 0).any()) for name in ("class_counts", "first_seen")):
        raise ValueError("class_counts and first_seen are counts, and one is below 0")
    length = float(torch.linalg.vector_norm(fixed["feature_sum"]))
    if not length < 1 << 53:
        raise ValueError(f"feature_sum has length {length:g}, which no number of features has")
    most = saved.balanced * (1 + SCORE_TOLERANCE)
    if not (0.0 <= saved.far_sum <= most and 0.0 <= saved.near_sum <= most):
        raise ValueError(f"far_sum or near_sum is no sum of {saved.balanced} scores")
