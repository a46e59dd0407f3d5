import hashlib
import json
import os
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from ants_engine.detector.class_list import ClassList
from ants_engine.errors import DetectorFolderError
from ants_engine.learning import detector_folder
from ants_engine.learning.detector_folder import LOCK, MANIFEST, load_detector, save_detector
from ants_engine.learning.report import SHOWN, BuildReport, SetAside
from ants_engine.settings.config import Settings
from tests.unit.detector.detectors import saved_detector, small_detector, unit_rows


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
    assert json.loads((folder / MANIFEST).read_text())["format"] == 4


def test_how_the_banks_are_scored_is_kept(tmp_path: Path) -> None:
    odd = replace(small_detector(), group_length=2, grouping="reference", permute=False, fusion="union", seed=9)
    save_detector(tmp_path, saved_detector(odd))
    found = load_detector(tmp_path).state.detector
    features = unit_rows(20, 8)
    assert found.score(features).id_score.tobytes() == odd.score(features).id_score.tobytes()
    assert found.score(features).id_score.tobytes() != small_detector().score(features).id_score.tobytes()
    assert (found.group_length, found.grouping, found.permute, found.fusion, found.seed) == (
        2,
        "reference",
        False,
        "union",
        9,
    )


def test_classes_of_one_name_come_back_at_their_places(tmp_path: Path) -> None:
    names = ("missile", "Cardigan", "missile", "cardigan")
    classes = ClassList(names, (("a missile",), ("a dog",), ("a missile",), ("a cardigan", "a jumper")), "a {}")
    detector = replace(small_detector(), classes=classes, class_features=unit_rows(4, 1))
    save_detector(tmp_path, saved_detector(detector))
    loaded = load_detector(tmp_path).state.detector
    assert loaded.classes == classes
    assert loaded.score(unit_rows(9, 3)).predicted_class == detector.score(unit_rows(9, 3)).predicted_class
    data = json.loads((tmp_path / MANIFEST).read_text())
    data["order"] = ["missile", "panda", "missile", "cardigan"]
    (tmp_path / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(DetectorFolderError, match="names others than there are"):
        load_detector(tmp_path)


def test_a_folder_names_no_order_where_names_differ(folder: Path) -> None:
    assert "order" not in json.loads((folder / MANIFEST).read_text())


def test_a_detector_saved_with_a_name_that_is_refused_today_is_loaded(tmp_path: Path) -> None:
    classes = ClassList(("id,name", "lion,", "n02129165"), (("a",), ("b",), ("c",)))
    save_detector(tmp_path, saved_detector(replace(small_detector(), classes=classes)))
    assert load_detector(tmp_path).state.detector.classes.names == classes.names


# ---- several processes, one folder -----------------------------------------------------------------------------------


def test_savers_take_turns_and_a_reader_always_has_a_whole_detector(folder: Path) -> None:
    """To the system's lock, threads are what processes are; `benchmarks.reliability 8` has processes."""
    failed: list[BaseException] = []
    ended = threading.Event()

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    def write(number: int) -> None:
        for count in range(12):
            # both come back to what the other has just replaced
            save_detector(folder, saved_detector(small_detector(ens=1 + (count * number) % 3)))

    def read() -> None:
        while not ended.is_set():
            load_detector(folder)

    writers = [threading.Thread(target=guarded, args=(lambda number=number: write(number),)) for number in (1, 2)]
    reader = threading.Thread(target=guarded, args=(read,))
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert failed == []
    assert len(load_detector(folder).state.detector.ens) in (1, 2, 3)
    assert {path.name for path in folder.iterdir()} == {MANIFEST, LOCK, tensors(folder).name}


def test_a_save_waits_for_another_and_says_so_when_it_takes_too_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_folder, "LOCK_PATIENCE", 0.1)
    before = (folder / MANIFEST).read_bytes()
    with FileLock(folder / LOCK), pytest.raises(DetectorFolderError, match="another process has been saving into it"):
        save_detector(folder, saved_detector())
    assert (folder / MANIFEST).read_bytes() == before
    load_detector(folder)


def test_a_lock_left_by_a_killed_process_holds_nobody_up(folder: Path) -> None:
    (folder / LOCK).write_bytes(b"4711")
    save_detector(folder, load_detector(folder))


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "dangling", "folder"])
def test_a_lock_that_is_a_link_is_refused_and_leads_nowhere(folder: Path, tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (folder / LOCK).unlink()
    if kind == "symlink":
        (folder / LOCK).symlink_to(precious)
    elif kind == "hardlink":
        (folder / LOCK).hardlink_to(precious)
    elif kind == "dangling":
        (folder / LOCK).symlink_to(tmp_path / "nothing")
    else:
        (folder / LOCK).mkdir()
    saved = load_detector(folder)
    with pytest.raises(DetectorFolderError, match=r"detector\.lock: a link or no file.*remove it"):
        save_detector(folder, saved)
    assert precious.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


def test_loading_needs_no_lock_and_writes_nothing(folder: Path) -> None:
    (folder / LOCK).unlink()
    before = {path.name for path in folder.iterdir()}
    load_detector(folder)
    assert {path.name for path in folder.iterdir()} == before


def test_a_reader_that_was_overtaken_looks_at_the_manifest_once_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = detector_folder._read
    looks: list[str] = []

    def overtaken(place: Path, name: str, limit: int) -> bytes:
        data = read(place, name, limit)
        looks.append(name)
        if len(looks) == 1:
            save_detector(folder, saved_detector(small_detector(ens=2)))
        return data

    monkeypatch.setattr(detector_folder, "_read", overtaken)
    assert len(load_detector(folder).state.detector.ens) == 2


def test_only_what_the_replaced_manifest_names_is_removed(folder: Path) -> None:
    """Another version, or a person, may keep files of the same kind there."""
    named, other = tensors(folder), folder / f"tensors-{'0' * 16}.safetensors"
    other.write_bytes(b"of somebody else")
    (folder / "pictures").mkdir()
    picture = folder / "pictures" / f"{'0' * 64}.png"
    picture.write_bytes(b"of somebody else")
    save_detector(folder, saved_detector(small_detector(ens=2)))
    assert not named.exists()
    assert other.exists()
    assert picture.exists()
    (folder / MANIFEST).write_text("damaged")
    save_detector(folder, saved_detector(small_detector(ens=3)))
    assert other.exists()
    assert len(load_detector(folder).state.detector.ens) == 3


def test_a_manifest_that_names_other_files_has_none_removed(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for digest in ("../../precious", str(precious), 7, None):
        data = json.loads((folder / MANIFEST).read_text())
        data["tensors_sha256"] = digest
        data["state"]["known"] = [{"copy_sha256": digest}]
        (folder / MANIFEST).write_text(json.dumps(data))
        save_detector(folder, saved_detector())
    assert precious.exists()


# ---- what is read, and what is kept ----------------------------------------------------------------------------------


def test_loading_asks_for_no_more_memory_than_the_files_have(folder: Path) -> None:
    load_detector(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    tracemalloc.start()
    try:
        load_detector(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # reading is in pieces of a megabyte
    assert peak < 100 * size + (8 << 20)


def test_what_could_not_be_loaded_again_does_not_replace_what_can(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bad = small_detector()
    for odd in (
        replace(bad, class_features=bad.class_features * 3),
        replace(bad, threshold=float("nan")),
        replace(bad, seed=1 << 80),
    ):
        with pytest.raises(DetectorFolderError, match="this detector cannot be saved"):
            save_detector(folder, saved_detector(odd))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


NAMES = ["caf\udce9.jpg", "\udcff\udcfe", "\ud83d", "naïve \u202e.png", 'quote".png', "back\\slash.png", "line\nend"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_bytes_comes_back(name: str, tmp_path: Path) -> None:
    detector = small_detector()
    bank = replace(detector.ens, sources=(name,) * len(detector.ens), texts=(f"a {name}",) * len(detector.ens))
    report = BuildReport(notes=[name], similar_classes=(name,))
    report.put_aside(SetAside("picture", name, f"{name}: is broken"))
    save_detector(tmp_path, saved_detector(replace(detector, ens=bank), None, report))
    (tmp_path / MANIFEST).read_bytes().decode("utf-8")
    saved = load_detector(tmp_path)
    assert saved.state.detector.ens.sources[0] == name
    assert saved.report.set_aside == report.set_aside
    assert saved.report.reasons() == report.reasons()
    assert (saved.report.notes, saved.report.similar_classes) == ([name], (name,))
    for printed in (
        str(saved.report),
        str(DetectorFolderError(name)),
        str(saved.state.detector.explain(unit_rows(1, 8)[0], name, 1)),
    ):
        assert printed.encode("utf-8")


def test_what_was_set_aside_is_bounded_and_counted(tmp_path: Path) -> None:
    report = BuildReport()
    for number in range(SHOWN + 500):
        report.put_aside(SetAside("picture", f"{number}.png", f"{number} pixels too many"))
    report.put_aside(*(SetAside("text", "a cat", "names an ID class") for _ in range(3000)))
    save_detector(tmp_path, saved_detector(None, None, report))
    found = load_detector(tmp_path).report
    assert found.set_aside_count == SHOWN + 3500
    assert found.set_aside == report.set_aside
    assert len(found.set_aside) == SHOWN
    assert found.reasons()["text", "names an ID class"] == 3000
    assert found.reasons()["picture", "for other reasons"] == 500
    assert sum(found.reasons().values()) == found.set_aside_count
    assert f"set aside: {SHOWN + 3500} in all; the latest {SHOWN} are listed" in str(found)
    assert "set aside: 3000 texts: names an ID class" in str(found)


def test_a_folder_of_before_counts_has_them_counted(folder: Path) -> None:
    _edit(lambda data: data["report"].pop("set_aside_reasons"))(folder)  # type: ignore[attr-defined]
    found = load_detector(folder).report
    assert (found.set_aside_count, sum(found.reasons().values()), len(found.set_aside)) == (1, 1, 1)
