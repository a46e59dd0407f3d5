"""A state taken apart and put together again, and states that somebody has changed in between."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from ants_engine.clip.image_ref import ImageRef, file_ref, object_ref
from ants_engine.detector.detector import ActivationRanking
from ants_engine.errors import DetectorFolderError, ImageRefusedError
from ants_engine.learning.detector_folder import MANIFEST, SavedDetector, load_detector, save_detector
from ants_engine.learning.report import BuildReport
from ants_engine.learning.saved_state import copy_name, pack_state, unpack_state
from ants_engine.learning.state import (
    AdaptationState,
    Candidate,
    Candidates,
    Caption,
    EnsUpdate,
    JudgeUpdate,
    VsnlUpdate,
)
from ants_engine.method.spread import EpsilonNet
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from tests.unit.detector.detectors import DIM, small_detector, unit_rows

SETTINGS = load_settings(environment={}, stream={"history": 8})
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def full_state(settings: Settings = SETTINGS) -> AdaptationState:
    """Return a state in which nothing is empty."""
    detector = replace(small_detector(), activation=ActivationRanking(torch.tensor([3, 0, 4]), 2), fusion="pool")
    cold = AdaptationState.cold(detector, settings)
    asked = cold.asked.append(unit_rows(4, 6), torch.randn(4), [True, False] * 2, list("abcd"), sampled=True)
    asked = asked.append(unit_rows(3, 7), torch.randn(3), [True, False, False], list("efg"), sampled=False)
    detector = replace(detector, verified=asked.verified(), purity=0.75)
    items = [
        Candidate(2, "file", 0, file_ref(2, "somewhere/file.png")),
        Candidate(5, "frame", 1, object_ref(5, PICTURE, kept=True)),
        Candidate(6, "described", 2, None),
    ]
    judged = Candidate(8, "of the sample", 0, object_ref(8, PICTURE[:, ::-1].copy(), kept=True))
    waiting = Candidate(1, "has left", 2, object_ref(1, PICTURE[::-1].copy(), kept=True))
    return replace(
        cold,
        detector=detector,
        class_counts=torch.tensor([3, 0, 4]),
        first_seen=torch.tensor([1, torch.iinfo(torch.int64).max, 0]),
        feature_sum=torch.arange(DIM, dtype=torch.float64),
        recent=cold.recent.append(unit_rows(5, 1)),
        recent_initial=cold.recent_initial.append(torch.rand(5)),
        recent_votes=cold.recent_votes.append(torch.randn(5)),
        recent_scores=cold.recent_scores.append(torch.rand(7)),
        past_scores=cold.past_scores.append(torch.rand(11)),
        activation_scores=cold.activation_scores.append(torch.rand(4)),
        candidates=Candidates.of(8, DIM).append(items, torch.rand(3), unit_rows(3, 2)),
        negatives=unit_rows(2, 3),
        gamma=0.625,
        batch=4,
        pictures=9,
        looked=7,
        members=(6, 2),
        captions={6: Caption("a lamp", "described", False), 0: Caption(None, "gone")},
        asked=asked,
        net=EpsilonNet(unit_rows(2, 8), 0.75, 9, 2),
        sampled=5,
        ens_updates=2,
        held=(2, 0),
        labels={2: ("wolf", "fox"), 0: ()},
        far_sum=1.5,
        near_sum=2.5,
        balanced=7,
        pending=(
            EnsUpdate(5, (waiting, items[1]), (5, 1), unit_rows(2, 4)),
            VsnlUpdate(6, (1,), (1, 2)),
            EnsUpdate(6, (), (5,), unit_rows(1, 5)),
            JudgeUpdate(6, (judged,), (8, 5), unit_rows(2, 10)),
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_detector(tmp_path / "d", SavedDetector(full_state(), SETTINGS, BuildReport()))
    return tmp_path / "d"


def test_there_and_back(folder: Path) -> None:
    before, after = full_state(), load_detector(folder).state
    for name in ("recent", "recent_initial", "past_scores", "activation_scores", "recent_scores"):
        one, other = getattr(before, name), getattr(after, name)
        assert (one.limit, one.tensor().shape) == (other.limit, other.tensor().shape)
    for name in ("recent", "candidates"):
        one, other = getattr(before, name), getattr(after, name)
        rows = (one, other) if name == "recent" else (one.features, other.features)
        assert torch.equal(rows[0].tensor(), rows[1].tensor())
    for name in ("class_counts", "first_seen", "feature_sum", "negatives"):
        one, other = getattr(before, name), getattr(after, name)
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    for name in (
        "gamma", "batch", "pictures", "looked", "members", "captions", "ens_updates", "held", "labels", "far_sum",
        "near_sum", "balanced",
    ):  # fmt: skip
        assert getattr(before, name) == getattr(after, name), name
    assert list(after.captions) == [6, 0]
    assert [(item.id, item.name, item.predicted) for item in after.candidates.items.values()] == [
        (2, "file", 0),
        (5, "frame", 1),
        (6, "described", 2),
    ]
    assert [type(update) for update in after.pending] == [EnsUpdate, VsnlUpdate, EnsUpdate, JudgeUpdate]
    for one, other in zip(before.pending, after.pending, strict=True):
        assert (one.due, one.members) == (other.due, other.members)
    for name in ("features", "votes", "answers", "sampled"):
        one, other = getattr(before.asked, name), getattr(after.asked, name)
        assert (one.limit, len(one)) == (other.limit, len(other))
        # votes are random numbers, and `before` has others
        assert torch.equal(one.tensor(), other.tensor()) or name == "votes"
    assert after.asked.names == before.asked.names
    assert (after.detector.purity, after.sampled) == (0.75, 5)
    assert after.detector.verified is not None
    assert after.detector.verified.names == ("a", "c", "e")
    assert torch.equal(after.detector.verified.others, before.asked.verified().others)
    assert (after.net.cosine, after.net.seen, after.net.chosen) == (0.75, 9, 2)
    assert torch.equal(after.net.described, before.net.described)
    assert len(after.recent_votes) == len(after.recent) == 5
    assert after.detector.activation is not None
    assert after.detector.activation.rows.tolist() == [3, 0, 4]


def test_pictures_come_back_from_files_and_copies(folder: Path) -> None:
    state = load_detector(folder).state
    file, frame, described = (item.ref for item in state.candidates.items.values())
    assert file is not None
    assert file.key == (Path.cwd() / "somewhere" / "file.png").as_posix()
    assert described is None
    assert frame is not None
    assert np.array_equal(np.asarray(frame.load(SETTINGS.pictures)), PICTURE)
    waiting = state.pending[0]
    assert isinstance(waiting, EnsUpdate)
    assert waiting.asked[1] is state.candidates.items[5]
    left = waiting.asked[0].ref
    assert left is not None
    assert np.array_equal(np.asarray(left.load(SETTINGS.pictures)), PICTURE[::-1])
    sample = state.pending[3]
    assert isinstance(sample, JudgeUpdate)
    ref = sample.asked[0].ref
    assert ref is not None
    assert np.array_equal(np.asarray(ref.load(SETTINGS.pictures)), PICTURE[:, ::-1])
    assert len(list((folder / "pictures").iterdir())) == 3


def test_a_copy_is_as_small_as_what_the_mllm_is_shown(tmp_path: Path) -> None:
    small = load_settings(SETTINGS, mllm={"image_max_side": 4})
    save_detector(tmp_path, SavedDetector(full_state(small), small, BuildReport()))
    sizes = []
    for path in (tmp_path / "pictures").iterdir():
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes == [(3, 4)] * 3


def test_a_picture_that_nobody_has_any_more_does_not_stand_in_the_way(tmp_path: Path) -> None:
    ref = object_ref(5, PICTURE, kept=False)
    ref.release()
    state = full_state()
    lost = Candidates.of(8, DIM).append([Candidate(5, "lost", 1, ref)], torch.rand(1), unit_rows(1, 2))
    save_detector(tmp_path, SavedDetector(replace(state, candidates=lost, pending=()), SETTINGS, BuildReport()))
    (item,) = load_detector(tmp_path).state.candidates.items.values()
    assert (item.name, item.ref) == ("lost", None)


def test_an_older_save_leaves_nothing_behind(folder: Path) -> None:
    state = full_state()
    bare = replace(state, candidates=state.candidates.cleared(), pending=())
    save_detector(folder, SavedDetector(bare, SETTINGS, BuildReport()))
    assert list((folder / "pictures").iterdir()) == []
    assert len(list(folder.glob("tensors-*"))) == 1


def test_packing_copies_what_shares_memory() -> None:
    shared = unit_rows(5, 1)
    state = replace(full_state(), negatives=shared, recent=full_state().recent.append(shared))
    _, tensors, _ = pack_state(state, SETTINGS)
    assert save(tensors)
    assert len({tensor.data_ptr() for tensor in tensors.values() if tensor.numel()}) == sum(
        tensor.numel() > 0 for tensor in tensors.values()
    )


def test_missing_tensors_are_named() -> None:
    saved, tensors, _ = pack_state(full_state(), SETTINGS)
    for name in tensors:
        rest = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises((KeyError, ValueError), match="update are missing|" + name):
            unpack_state(saved, rest, Path(), full_state().detector, SETTINGS)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 63 + "/", "0" * 64 + "\n"])
def test_a_copys_name_is_a_digest(name: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        copy_name(name)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def swap(folder: Path, name: str, tensor: torch.Tensor) -> None:
    """Replace one tensor, and make the digest fit."""
    (path,) = folder.glob("tensors-*.safetensors")
    tensors = load_file(path)
    assert name in tensors
    packed = save({**tensors, name: tensor})
    path.unlink()
    digest = hashlib.sha256(packed).hexdigest()
    (folder / f"tensors-{digest[:16]}.safetensors").write_bytes(packed)
    edit(folder, lambda data: data.update(tensors_sha256=digest))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["known"][1].update(copy_sha256="../../../etc/passwd"),
        lambda state: state["known"][1].update(copy_sha256="/" + "0" * 63),
        lambda state: state["known"][0].update(predicted=3),
        lambda state: state["known"][0].update(predicted=-1),
        lambda state: state["known"].pop(0),
        lambda state: state["candidates"].pop(),
        lambda state: state["candidates"].append(77),
        lambda state: state["held"].append(3),
        lambda state: state["labels"].update({"9": ["wolf"]}),
        lambda state: state["pending"][0]["asked"].append(4),
        lambda state: state["pending"][0].update(kind="other"),
        lambda state: state["pending"][1].update(asked=[3]),
        lambda state: state["pending"][1].update(members=[3]),
        lambda state: state["pending"].insert(0, {"kind": "ens", "due": 5, "asked": [], "members": []}),
        lambda state: state.update(batch=-1),
        lambda state: state.update(pictures=1.5),
        lambda state: state.update(gamma="low"),
        lambda state: state.update(gamma=float("nan")),
        lambda state: state.update(surprise=1),
        lambda state: state.pop("captions"),
        lambda state: state["captions"].update({"x": ["a", "b"]}),
        lambda state: state["known"][0].update(sha256="../../etc/passwd"),
        lambda state: state["known"][0].update(id=1 << 64),
        lambda state: state.update(batch=1 << 64),
        lambda state: state["asked"].append("one more"),
        lambda state: state["asked"].clear() or state["asked"].append("one"),
        lambda state: state.update(purity=1.5),
        lambda state: state.update(purity=float("nan")),
        lambda state: state.update(net=[float("nan"), 9, 2]),
        lambda state: state.update(net=[2.0, 9, 2]),
        lambda state: state.update(net=[0.5, -1, 2]),
        lambda state: state.update(sampled=-1),
        lambda state: state["pending"][0].update(asked=[1, 6]),
        lambda state: state["pending"][3].update(asked=[2]),
        lambda state: state["pending"][3].update(members=[8]),
        lambda state: state["pending"][3].update(members=[8, 5, 2]),
    ],
)
def test_a_doctored_manifest_is_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(folder, lambda data: change(data["state"]))
    with pytest.raises(DetectorFolderError, match=r"damaged|do not fit together") as error:
        load_detector(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("state_class_counts", torch.zeros(4, dtype=torch.int64)),
        ("state_class_counts", torch.zeros(3)),
        ("state_first_seen", torch.zeros(3, 1, dtype=torch.int64)),
        ("state_feature_sum", torch.zeros(DIM + 1, dtype=torch.float64)),
        ("state_feature_sum", torch.zeros(DIM)),
        ("state_recent", torch.zeros(5, DIM - 1)),
        ("state_recent", torch.zeros(4, DIM)),
        ("state_recent", torch.tensor(1.0)),
        ("state_recent_initial", torch.zeros(5, 2)),
        ("state_recent_initial", torch.tensor(1.0)),
        ("state_past_scores", torch.zeros(2, 2)),
        ("state_candidate_scores", torch.zeros(2)),
        ("state_candidate_features", torch.zeros(3, 2)),
        ("state_candidate_features", torch.zeros(4, DIM)),
        ("state_negatives", torch.zeros(2, 3)),
        ("state_negatives", torch.zeros(DIM)),
        ("state_pending_0", torch.zeros(2, 3)),
        ("state_activation_rows", torch.tensor([0, 5])),
        ("state_activation_rows", torch.tensor([-1, 0])),
        ("state_activation_rows", torch.tensor([0.0, 1.0])),
        ("state_activation_rows", torch.zeros(0, dtype=torch.int64)),
        ("state_activation_rows", torch.zeros(1, 2, dtype=torch.int64)),
        ("ens_features", torch.zeros(5, DIM + 1)),
        ("ens_features", torch.full((5, DIM), float("nan"))),
        ("class_features", torch.full((3, DIM), float("inf"))),
        ("class_features", torch.zeros(3, DIM, dtype=torch.complex64)),
        ("neglabel_features", torch.ones(12, DIM, dtype=torch.int64)),
        ("state_recent", torch.full((5, DIM), float("nan"))),
        ("state_recent_initial", torch.full((5,), float("nan"))),
        ("state_candidate_scores", torch.full((3,), float("inf"))),
        ("state_feature_sum", torch.full((DIM,), float("nan"), dtype=torch.float64)),
        ("state_negatives", torch.full((2, DIM), float("nan"))),
        ("state_pending_0", torch.full((2, DIM), float("nan"))),
        ("state_pending_0", unit_rows(1, 4)),
        ("state_pending_3", unit_rows(1, 4)),
        ("state_pending_3", torch.zeros(2, DIM)),
        ("state_asked_features", unit_rows(6, 6)),
        ("state_asked_features", torch.full((7, DIM), float("nan"))),
        ("state_asked_features", unit_rows(7, 6)[:, 1:].contiguous()),
        *(
            (f"state_asked_{name}", tensor)
            for name in ("votes", "answers", "sampled")
            for tensor in (
                torch.zeros(6),
                torch.zeros(7, 1),
                torch.tensor(0.0),
                torch.full((7,), float("nan")),
                torch.full((7,), 1e300, dtype=torch.float64),
                torch.zeros(7, dtype=torch.int64),
            )
        ),
        ("state_recent_votes", torch.zeros(4)),
        ("state_recent_votes", torch.full((5,), float("inf"))),
        ("state_recent_votes", torch.full((5,), -1e300, dtype=torch.float64)),
        ("state_recent_votes", torch.zeros(5, dtype=torch.bool)),
        ("state_net", torch.zeros(2, DIM)),
        ("state_net", torch.ones(2, DIM + 1)),
        ("state_net", torch.tensor(1.0)),
    ],
)
def test_a_doctored_tensor_is_refused(folder: Path, name: str, tensor: torch.Tensor) -> None:
    swap(folder, name, tensor)
    with pytest.raises(DetectorFolderError, match="do not fit together") as error:
        load_detector(folder)
    assert str(folder) in str(error.value)


WIDTHS = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8,
    "I64": 8, "U64": 8, "C64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}  # fmt: skip
"""Every type of safetensors that takes whole bytes."""
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (3,), (0, DIM), (3, DIM), (3, DIM, 1), (1, 3, DIM), (0, 0), (3, 0))


def raw_swap(folder: Path, name: str, kind: str, shape: tuple[int, ...], content: bytes) -> None:
    """Replace one tensor by raw bytes of any type, as no library would write it."""
    (path,) = folder.glob("tensors-*.safetensors")
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    parts: dict[str, tuple[dict[str, Any], bytes]] = {
        key: (entry, data[slice(*entry["data_offsets"])]) for key, entry in header.items() if key != "__metadata__"
    }
    assert name in parts
    parts[name] = ({"dtype": kind, "shape": list(shape)}, content)
    made, packed = {}, b""
    for key, (entry, part) in sorted(parts.items(), key=lambda item: -WIDTHS[item[1][0]["dtype"]]):
        made[key] = {**entry, "data_offsets": [len(packed), len(packed) + len(part)]}
        packed += part
    head = json.dumps(made).encode()
    head += b" " * (-len(head) % 8)
    file = len(head).to_bytes(8, "little") + head + packed
    path.unlink()
    digest = hashlib.sha256(file).hexdigest()
    (folder / f"tensors-{digest[:16]}.safetensors").write_bytes(file)
    edit(folder, lambda data: data.update(tensors_sha256=digest))


TENSORS = (
    "class_features", "neglabel_features", "ens_features", "vsnl_features", "state_recent", "state_recent_initial",
    "state_recent_scores", "state_past_scores", "state_activation_scores", "state_class_counts", "state_first_seen",
    "state_feature_sum", "state_negatives", "state_candidate_scores", "state_candidate_features",
    "state_activation_rows", "state_pending_0", "state_pending_2", "state_pending_3", "state_recent_votes",
    "state_asked_features", "state_asked_votes", "state_asked_answers", "state_asked_sampled", "state_net",
)  # fmt: skip


def test_the_table_of_tensors_is_whole(folder: Path) -> None:
    (path,) = folder.glob("tensors-*.safetensors")
    assert set(load_file(path)) == set(TENSORS)


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_any_type_rank_and_content_loads_sound_or_not_at_all(name: str, folder: Path) -> None:
    (path,) = folder.glob("tensors-*.safetensors")
    sound = {path.name: path.read_bytes(), MANIFEST: (folder / MANIFEST).read_bytes()}
    tries = [(kind, (3, DIM), 0x7F) for kind in WIDTHS]
    tries += [(kind, shape, 0) for kind in ("F32", "I64", "F8_E4M3") for shape in SHAPES]
    tries += [("F32", shape, byte) for shape in ((3,), (3, DIM), (DIM,)) for byte in (0x7E, 0x7F, 0xFF)]
    for kind, shape, byte in tries:
        for old in folder.glob("tensors-*.safetensors"):
            old.unlink()
        for file, data in sound.items():
            (folder / file).write_bytes(data)
        raw_swap(folder, name, kind, shape, bytes([byte]) * (int(np.prod(shape, dtype=np.int64)) * WIDTHS[kind]))
        try:
            found = load_detector(folder).state
        except DetectorFolderError as error:
            assert str(folder) in str(error)
            continue
        assert np.isfinite(found.detector.score(unit_rows(2, 9)).id_score).all()
        rows = (found.recent, found.past_scores, found.recent_votes, found.asked.votes, found.asked.features)
        assert all(bool(torch.isfinite(part.tensor()).all()) for part in rows)
        assert bool(torch.isfinite(found.feature_sum).all())


@pytest.mark.parametrize("name", [name for name in TENSORS if name.endswith("features")] + ["state_recent"])
@pytest.mark.parametrize("factor", [0.0, 0.9, 1.1, 1e19, 1e30])
def test_features_that_are_not_of_length_1_are_refused(name: str, factor: float, folder: Path) -> None:
    (path,) = folder.glob("tensors-*.safetensors")
    swap(folder, name, load_file(path)[name] * factor)
    with pytest.raises(DetectorFolderError, match="not every row is a finite feature of length 1"):
        load_detector(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_features_rounded_by_an_earlier_version_load(kind: torch.dtype, folder: Path) -> None:
    (path,) = folder.glob("tensors-*.safetensors")
    for name, tensor in load_file(path).items():
        if name.endswith("_features") or "scores" in name or name in ("state_recent", "state_negatives"):
            swap(folder, name, tensor.to(kind))
    state = load_detector(folder).state
    assert state.detector.ens.features.dtype == state.recent.tensor().dtype == torch.float32
    assert np.isfinite(state.detector.score(unit_rows(2, 9)).id_score).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(far_sum=1e300),
        lambda state: state.update(near_sum=-1.0),
        lambda state: state.update(balanced=0),
    ],
)
def test_sums_that_no_scores_have_are_refused(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(folder, lambda data: change(data["state"]))
    with pytest.raises(DetectorFolderError, match="far_sum or near_sum"):
        load_detector(folder)


def test_a_candidates_name_and_path_of_any_bytes_come_back(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \xff.png")
    Image.fromarray(PICTURE).save(path, format="PNG")
    state = full_state()
    item = Candidate(2, str(path), 0, file_ref(2, path))
    only = Candidates.of(8, DIM).append([item], torch.rand(1), unit_rows(1, 2))
    captions = {2: Caption("a lamp \udce9", str(path))}
    named = replace(state, candidates=only, pending=(), captions={})
    save_detector(tmp_path / "d", SavedDetector(named, SETTINGS, BuildReport()))
    (found,) = load_detector(tmp_path / "d").state.candidates.items.values()
    assert found.name == str(path)
    assert found.ref is not None
    assert found.ref.key == path.as_posix()
    assert np.array_equal(np.asarray(found.ref.load(SETTINGS.pictures)), PICTURE)
    save_detector(tmp_path / "d", SavedDetector(replace(named, captions=captions), SETTINGS, BuildReport()))
    assert load_detector(tmp_path / "d").state.captions == captions


# ---- a folder names a picture of this machine ------------------------------------------------------------------------


def with_file(path: Path) -> SavedDetector:
    """Return a detector with one candidate, a file, and nothing else to be asked."""
    state = full_state()
    item = Candidate(2, "file", 0, file_ref(2, path))
    only = Candidates.of(8, DIM).append([item], torch.rand(1), unit_rows(1, 2))
    return SavedDetector(replace(state, candidates=only, pending=()), SETTINGS, BuildReport())


def only_ref(folder: Path) -> ImageRef:
    (item,) = load_detector(folder).state.candidates.items.values()
    assert item.ref is not None
    return item.ref


def test_a_file_is_shown_while_it_is_what_was_saved(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    save_detector(tmp_path / "d", with_file(tmp_path / "a.png"))
    assert np.array_equal(np.asarray(only_ref(tmp_path / "d").load(SETTINGS.pictures)), PICTURE)
    again = load_detector(tmp_path / "d")
    save_detector(tmp_path / "again", again)
    assert np.array_equal(np.asarray(only_ref(tmp_path / "again").load(SETTINGS.pictures)), PICTURE)
    Image.fromarray(PICTURE[::-1]).save(tmp_path / "a.png")
    with pytest.raises(ImageRefusedError, match=r"^file: is not the file that was saved"):
        only_ref(tmp_path / "again").load(SETTINGS.pictures)


def test_a_folder_cannot_have_another_file_shown(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    Image.fromarray(PICTURE[::-1]).save(tmp_path / "private.png")
    save_detector(tmp_path / "d", with_file(tmp_path / "a.png"))
    edit(tmp_path / "d", lambda data: data["state"]["known"][0].update(path=str(tmp_path / "private.png")))
    with pytest.raises(ImageRefusedError, match="sha256 of its content differs"):
        only_ref(tmp_path / "d").load(SETTINGS.pictures)
    # saving what was loaded must not make it good
    save_detector(tmp_path / "again", load_detector(tmp_path / "d"))
    with pytest.raises(ImageRefusedError, match="sha256 of its content differs"):
        only_ref(tmp_path / "again").load(SETTINGS.pictures)


def test_a_folder_from_before_digests_loads_and_shows_no_file(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    save_detector(tmp_path / "d", with_file(tmp_path / "a.png"))

    def age(data: dict[str, Any]) -> None:
        data["format"] = 2
        for item in data["state"]["known"]:
            del item["sha256"]

    edit(tmp_path / "d", age)
    for folder in (tmp_path / "d", tmp_path / "again"):
        with pytest.raises(ImageRefusedError, match="without the sha256"):
            only_ref(folder if folder.name == "d" else tmp_path / "again").load(SETTINGS.pictures)
        (note,) = load_detector(folder).report.notes
        assert note.startswith("1 pictures")
        save_detector(tmp_path / "again", load_detector(folder))


def test_a_copy_is_no_link_and_what_its_name_says(folder: Path, tmp_path: Path) -> None:
    frame = load_detector(folder).state.candidates.items[5].ref
    assert frame is not None
    (copy,) = [path for path in (folder / "pictures").iterdir() if path.stem in str(frame.held.source)]
    sound = copy.read_bytes()
    (tmp_path / "private.png").write_bytes(sound)
    copy.unlink()
    copy.symlink_to(tmp_path / "private.png")
    with pytest.raises(ImageRefusedError, match="is a link"):
        frame.load(SETTINGS.pictures)
    copy.unlink()
    Image.fromarray(PICTURE[:, ::-1]).save(copy)
    with pytest.raises(ImageRefusedError, match="differs"):
        frame.load(SETTINGS.pictures)
    copy.write_bytes(sound)
    (folder / "pictures").rename(tmp_path / "elsewhere")
    (folder / "pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ImageRefusedError, match="is a link"):
        frame.load(SETTINGS.pictures)


def test_saving_into_a_folder_removes_nothing_behind_a_link(folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("holiday.png", "0" * 64 + ".png"):
        Image.fromarray(PICTURE).save(photos / name)
    before = load_detector(folder)
    for path in (folder / "pictures").iterdir():
        path.unlink()
    (folder / "pictures").rmdir()
    (folder / "pictures").symlink_to(photos)
    with pytest.raises(DetectorFolderError, match="a link where a folder"):
        save_detector(folder, before)
    assert sorted(path.name for path in photos.iterdir()) == ["0" * 64 + ".png", "holiday.png"]


def test_files_of_others_stay_where_they_are(folder: Path) -> None:
    (folder / "pictures" / "mine.png").write_bytes(b"x")
    save_detector(folder, load_detector(folder))
    assert (folder / "pictures" / "mine.png").exists()
