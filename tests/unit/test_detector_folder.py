import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ants_engine.build_report import BuildReport, SetAside
from ants_engine.config import Settings
from ants_engine.detector_folder import LOCK, MANIFEST, load_detector, save_detector
from ants_engine.errors import DetectorFolderError
from tests.unit.detectors import saved_detector, small_detector, unit_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    report = BuildReport(
        pictures=3, set_aside=[SetAside("text", "a cat", "names an ID class")], similar_classes=("cat",)
    )
    save_detector(tmp_path / "d", saved_detector(small_detector(), Settings(seed=5), report))
    return tmp_path / "d"


def test_what_was_saved_comes_back_to_the_same_bits(folder: Path) -> None:
    saved = load_detector(folder)
    features = unit_rows(20, 8)
    before, after = small_detector().score(features), saved.state.detector.score(features)
    for column in ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted"):
        np.testing.assert_array_equal(getattr(before, column), getattr(after, column))
    assert saved.settings == Settings(seed=5)
    assert saved.report.set_aside == [SetAside("text", "a cat", "names an ID class")]
    assert saved.report.similar_classes == ("cat",)
    assert saved.state.detector.explain(features[0], "x", 1) == small_detector().explain(features[0], "x", 1)


def tensors(folder: Path) -> Path:
    (found,) = folder.glob("tensors-*.safetensors")
    return found


def test_saving_twice_gives_the_same_files_and_no_others(folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(files) == {MANIFEST, LOCK, tensors(folder).name}
    save_detector(folder, load_detector(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_empty_banks_are_kept(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(small_detector(ens=0, vsnl=0)))
    assert len(load_detector(tmp_path).state.detector.ens) == 0


def _edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / MANIFEST).read_text())
        change(data)
        (folder / MANIFEST).write_text(json.dumps(data))

    return apply


class Boom:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (pytest.fail, ("a detector folder was executed",))


def _swap(folder: Path, packed: bytes) -> None:
    """Put other bytes in the tensors' place, and make name and digest fit."""
    tensors(folder).unlink()
    digest = hashlib.sha256(packed).hexdigest()
    (folder / f"tensors-{digest[:16]}.safetensors").write_bytes(packed)
    _edit(lambda data: data.update(tensors_sha256=digest))(folder)


def _link_out(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "no detector.json"),
        (lambda folder: tensors(folder).unlink(), "no tensors-"),
        (lambda folder: (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:-100]), "damaged"),
        (lambda folder: tensors(folder).write_bytes(tensors(folder).read_bytes()[:-4]), "sha256 differs"),
        (lambda folder: tensors(folder).write_bytes(pickle.dumps(Boom())), "sha256 differs"),
        (lambda folder: (folder / MANIFEST).write_bytes(pickle.dumps(Boom())), "damaged"),
        (_edit(lambda data: data.update(format=99)), "format 99"),
        (_edit(lambda data: data.update(extra=1)), "damaged at extra"),
        (_edit(lambda data: data.update(weight=2)), "damaged at weight"),
        (_edit(lambda data: data["banks"]["ens"]["texts"].pop()), "damaged at banks.ens"),  # type: ignore[index]
        (_edit(lambda data: data["classes"].pop("cat")), "do not fit together"),  # type: ignore[attr-defined]
        (_edit(lambda data: data["banks"].pop("ens")), "do not fit together"),  # type: ignore[attr-defined]
        (_edit(lambda data: data.update(tensors_sha256="../" * 21 + "a")), "damaged at tensors_sha256"),
        (_edit(lambda data: data.update(tensors_sha256="/" + "0" * 63)), "damaged at tensors_sha256"),
        (_edit(lambda data: data.update(threshold=float("nan"))), "damaged at threshold"),
        (_edit(lambda data: data.update(temperature=1e-300)), "damaged at temperature"),
        (_edit(lambda data: data.update(seed=1 << 70)), "damaged at seed"),
        (_edit(lambda data: data["report"].update(set_aside=3)), "damaged at report"),  # type: ignore[attr-defined]
        (_edit(lambda data: data["report"].update(set_aside=[{"what": 1}])), "damaged at report"),  # type: ignore[attr-defined]
        (_edit(lambda data: data["report"].update(pictures="many")), "damaged at report"),  # type: ignore[attr-defined]
        (_edit(lambda data: data["settings"].update(clip={"model": 3})), "do not fit together"),  # type: ignore[attr-defined]
        (lambda folder: (folder / MANIFEST).write_text('{"settings": ' + "[" * 200_000), "damaged"),
        (lambda folder: (folder / MANIFEST).write_text('{"settings": ' + '{"a":' * 200_000), "damaged"),
        (lambda folder: (folder / MANIFEST).write_text("!!python/object/apply:os.system [id]"), "damaged"),
        (lambda folder: os.truncate(folder / MANIFEST, 1 << 40), "bytes, more than"),
        (lambda folder: os.truncate(tensors(folder), 1 << 40), "bytes, more than"),
        (lambda folder: _swap(folder, pickle.dumps(Boom())), "do not fit together"),
        (lambda folder: _swap(folder, (1 << 40).to_bytes(8, "little") + b"{}"), "do not fit together"),
        (lambda folder: _swap(folder, b"PK\x03\x04 a torch file"), "do not fit together"),
        (lambda folder: _link_out(folder / MANIFEST), "leads out of the folder"),
        (lambda folder: _link_out(tensors(folder)), "leads out of the folder"),
        (lambda folder: _loop(folder / MANIFEST), "cannot be read"),
        (lambda folder: _pipe(folder / MANIFEST), "not a regular file"),
    ],
)
def test_a_damaged_folder_is_refused(folder: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(folder)
    with pytest.raises(DetectorFolderError) as error:
        load_detector(folder)
    assert said in str(error.value)
    assert str(folder) in str(error.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DetectorFolderError, match="cannot be written"):
        save_detector(tmp_path / "file" / "d", saved_detector())


def test_another_detector_replaces_the_first_whole(folder: Path) -> None:
    before = tensors(folder)
    save_detector(folder, saved_detector(small_detector(ens=2)))
    assert tensors(folder) != before
    assert len(load_detector(folder).state.detector.ens) == 2


def test_the_first_format_still_loads(folder: Path) -> None:
    def age(data: dict[str, object]) -> None:
        for name in ("state", "template", "own_template", "group_length", "grouping", "permute", "union"):
            del data[name]
        data["format"] = 1

    _edit(age)(folder)
    saved = load_detector(folder)
    features = unit_rows(20, 8)
    assert (
        saved.state.detector.score(features).id_score.tobytes() == small_detector().score(features).id_score.tobytes()
    )
    assert (saved.state.pictures, len(saved.state.recent), saved.state.pending) == (0, 0, ())
    assert saved.state.detector.classes.template == "The nice {}."
    save_detector(folder, saved)
    assert json.loads((folder / MANIFEST).read_text())["format"] == 3


def test_how_the_banks_are_scored_is_kept(tmp_path: Path) -> None:
    odd = replace(small_detector(), group_length=2, grouping="reference", permute=False, union=True, seed=9)
    save_detector(tmp_path, saved_detector(odd))
    found = load_detector(tmp_path).state.detector
    features = unit_rows(20, 8)
    assert found.score(features).id_score.tobytes() == odd.score(features).id_score.tobytes()
    assert found.score(features).id_score.tobytes() != small_detector().score(features).id_score.tobytes()
    assert (found.group_length, found.grouping, found.permute, found.union, found.seed) == (
        2,
        "reference",
        False,
        True,
        9,
    )
