import asyncio
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ants_engine.cli.main import commands, main
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.common.progress import ProgressEvent
from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import FeatureError, ImageNotFoundError, ImageUnreadableError, UsageError
from ants_engine.evaluation.evaluation import evaluate
from ants_engine.evaluation.method import EvaluationPlan, method_names
from ants_engine.evaluation.results_folder import ResultsFolder
from ants_engine.method.metrics import measure
from ants_engine.settings.loader import load_settings
from tests.integration.conftest import CLASSES, OBJECTS, WORLD


@pytest.fixture(autouse=True)
def sklearn() -> None:
    """Needed, and imported by no process of pytest-xdist that runs none of these tests."""
    pytest.importorskip("sklearn")


COLUMNS = ["dataset", "FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC"]


@pytest.fixture
def folder(tmp_path: Path, images: list[Image.Image]) -> Path:
    """A user's folder: 16 ID pictures in class folders, 12 near and 8 far ones, and settings with a scripted MLLM."""
    places = [f"id/{CLASSES[i % 4].replace(' ', '_')}" for i in range(16)] + ["near/shapes"] * 12 + ["far/blobs"] * 8
    for number, (image, place) in enumerate(zip(images, places, strict=False)):
        (tmp_path / "data" / place).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "data" / place / f"{number:02}.png")
    (tmp_path / "lexicon.txt").write_text("".join(f"{word}\tnoun\n" for word in OBJECTS))
    answers = {
        "Describe": [f"A {one} and a {other}" for one in OBJECTS for other in OBJECTS[:2]],
        "Name 5": "wolf, fox, bear, seal, lynx",
        "visually resemble": "wolf, fox, bear",
    }
    write_settings(tmp_path, answers=answers, default="wolf, fox, bear")
    return tmp_path


def write_settings(folder: Path, **mllm: Any) -> None:
    (folder / "answers.json").write_text(json.dumps({"answers": {}} | mllm))
    (folder / "data" / "ants.toml").write_text(
        f'[clip]\nmodel = "{WORLD / "clip"}"\nbatch_size = 8\n[lexicon]\nsource = "../lexicon.txt"\n'
        '[mllm]\nbackend = "scripted"\nanswers = "../answers.json"\n[mining]\ngamma = 1.0\n'
        "[neglabel]\ngroups = 3\nmin_group_length = 3\n"
        '[dispatch]\nstore = "../store"\nattempts = 1\n[text]\nfeature_cache = "../features"\n[progress]\nbar = "off"\n'
    )


def run(*arguments: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(commands, ["eval", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return result


def fifth_of_the_world(folder: Path) -> Path:
    """The embedded world with every fifth of its pictures: all of them are encoded, however few are drawn."""
    lists = Path("pictures", "benchmark_imglist", "emoji_world")
    (folder / lists).mkdir(parents=True)
    for name in ("ants.toml", "clip", "mllm", "lexicon.txt", "pictures/images"):
        (folder / name).symlink_to(WORLD / name)
    for path in (WORLD / lists).iterdir():
        kept = path.read_text().splitlines(keepends=True)
        (folder / lists / path.name).write_text("".join(kept if path.name == "classes.txt" else kept[::5]))
    return folder


def test_the_embedded_world_with_every_method_and_the_real_mllm(tmp_path: Path) -> None:
    own = ["--set", f"dispatch.store={tmp_path / 'store'}", "--set", f"text.feature_cache={tmp_path / 'features'}"]
    arguments = [
        fifth_of_the_world(tmp_path / "world"),
        "--share",
        "0.1",
        "--batch-size",
        "16",
        "--convention",
        "both",
        *own,
    ]
    printed = run(*arguments, "--out", tmp_path / "out").stdout
    for name in method_names():
        assert name in printed
    assert "convention openood: ID that raises a false alarm" in printed
    assert "convention id_positive: OOD let through" in printed
    assert "near (17 ID + 16)" in printed
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["complete"]
    assert record["failed_passes"] == record["degraded_passes"] == 0
    assert len(record["clip"]["weights_sha256"]) == 64
    assert len(record["mllm"]) == 1
    assert "sha256" in str(record["mllm"])
    assert set(record["templates"]) == {"ens/v1", "vsnl/v1", "eoe_near/v1"}
    assert record["requests"]["asked"] > 42
    assert record["requests"]["completion_tokens"] > 100
    assert record["plan"] == {
        "seeds": [0], "prevalences": [None], "share": 0.1, "batch_size": 16,
        "fpr95_conventions": ["openood", "id_positive"],
    }  # fmt: skip
    # the numbers in the files are those of the score files
    ants = tmp_path / "out" / "ants" / "all"
    with np.load(ants / "scores" / "near-seed0.npz") as file:
        is_id = file["label"] >= 0
        again = measure(
            file["conf"][is_id], file["conf"][~is_id], id_predicted=file["pred"][is_id], id_labels=file["label"][is_id]
        )
        assert (file["label"][~is_id] == -1).all()
    with (ants / "ood_openood.csv").open(newline="") as text:
        rows = list(csv.reader(text))
    assert rows[0] == COLUMNS
    assert [row[0] for row in rows[1:]] == ["near", "nearood", "far", "farood"]
    assert rows[1][1:] == rows[2][1:] == [f"{value:.2f}" for value in again.percent(None).values() if value is not None]
    # from the recorded answers: no MLLM, the same bits
    replayed = [*arguments, "--set", "dispatch.mode=replay"]
    assert "0 answers asked for" in run(*replayed, "--out", tmp_path / "again").stdout
    for file in (tmp_path / "out").rglob("*.npz"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "out")).read_bytes()


def test_seeds_prevalences_and_json(folder: Path) -> None:
    arguments = [folder / "data", "--seeds", "0-2", "--prevalence", "0.2,0.4", "--batch-size", "4"]
    record = json.loads(run(*arguments, "--methods", "mcm,ants,ants-ens", "--json", "--out", folder / "out").stdout)
    assert len(record["passes"]) == 3 * 2 * 2 * 3
    sizes = {(one["ood_set"], one["prevalence"]): (one["id_pictures"], one["ood_pictures"]) for one in record["passes"]}
    # 16 ID pictures ask for 4 and 10.67 OOD ones; of blobs there are 8, which ask for 12 ID ones at 0.4
    assert sizes == {
        ("shapes", 0.2): (16, 4), ("blobs", 0.2): (16, 4), ("shapes", 0.4): (16, 11), ("blobs", 0.4): (12, 8),
    }  # fmt: skip
    assert [note for note in record["notes"] if "prevalence" in note] == [
        "prevalence 0.4 of blobs: its 8 pictures are too few for 16 ID pictures, so that 12 of these are drawn"
    ]
    by_method = {one["method"]: one for one in record["passes"] if one["seed"] == 0 and one["prevalence"] == 0.4}
    assert by_method["ants-ens"]["same_run_as"] == "ants"
    assert by_method["ants"]["same_run_as"] is None
    mcm = [one for one in record["summary"] if one["method"] == "mcm" and one["dataset"] == "farood"]
    assert [one["percent"]["AUROC"]["std"] is not None for one in mcm] == [True, True]
    assert (folder / "out/mcm/prevalence-0.4/ood_openood_std.csv").is_file()
    with np.load(folder / "out/mcm/prevalence-0.4/scores/blobs-seed2.npz") as file:
        assert (len(file["label"]), int((file["label"] == -1).sum())) == (20, 8)


def test_one_seed_does_not_depend_on_the_others(folder: Path) -> None:
    common = [folder / "data", "--methods", "adaneg,ants,ants-frozen", "--batch-size", "5"]
    run(*common, "--seeds", "0,1", "--out", folder / "two")
    run(*common, "--seeds", "1", "--ood", "blobs", "--out", folder / "one")
    files = sorted((folder / "one").rglob("*.npz"))
    assert len(files) == 3
    for file in files:
        assert file.read_bytes() == (folder / "two" / file.relative_to(folder / "one")).read_bytes()


def test_features_give_what_pictures_give(folder: Path, encoder: ClipEncoder) -> None:
    pictures = read_benchmark(folder / "data")
    settings = load_settings(folder / "data")
    names, plan = ("mcm", "energy"), EvaluationPlan(batch_size=4)
    from_pictures = asyncio.run(evaluate(pictures, settings, plan, names, encoder=encoder))
    assert from_pictures.methods is not None
    detector = from_pictures.methods.ants.detector
    sets = from_pictures.benchmark.sets
    names_of = [one.name if one.group is None else f"{one.group}/{one.name}" for one in sets]
    np.savez(
        folder / "features.npz",
        image_features=np.concatenate([one.features.numpy() for one in sets if one.features is not None]),
        labels=np.concatenate([one.labels for one in sets]),
        sets=np.concatenate([np.full(len(one), name) for one, name in zip(sets, names_of, strict=True)]),
        class_names=np.array(pictures.classes),
        class_features=detector.class_features.numpy(),
        logit_scale=np.array(encoder.logit_scale),
    )
    given = asyncio.run(evaluate(read_benchmark(folder / "features.npz"), settings, plan, names))
    found = {(row.method, row.dataset): row.values for row in given.rows}
    assert {(row.method, row.dataset): row.values for row in from_pictures.rows} == found


def test_features_with_the_clip_of_the_settings(folder: Path, encoder: ClipEncoder) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10, encoder.dim)).astype(np.float32)
    arrays = {"image_features": features, "labels": np.array([0, 1, 2, 3, 0, -1, -1, -1, -1, -1])}
    np.savez(folder / "f.npz", **arrays, class_names=np.array(CLASSES), clip=np.array(encoder.identity_sha256))
    config = ["--config", folder / "data"]
    result = run(folder / "f.npz", "--methods", "mcm,eoe,ants,ants-frozen", *config)
    assert "10 of 10 rows were not of length 1" in result.stdout
    assert "not known to be near or far" in result.stdout
    assert result.stdout.count("ood (5 ID + 5)") == 4
    np.savez(folder / "f.npz", **arrays, class_names=np.array(CLASSES), clip=np.array("0" * 64))
    with pytest.raises(FeatureError, match="its features are of the CLIP 0000"):
        run(folder / "f.npz", "--methods", "mcm", *config)
    arrays["image_features"] = rng.normal(size=(10, encoder.dim + 1))
    np.savez(folder / "f.npz", **arrays, class_names=np.array(CLASSES))
    with pytest.raises(FeatureError, match=f"features of width {encoder.dim + 1}, and the CLIP .* gives {encoder.dim}"):
        run(folder / "f.npz", "--methods", "mcm", *config)


def test_unreadable_pictures_are_named_and_never_dropped(folder: Path) -> None:
    data = folder / "data"
    (data / "id" / "guitar" / "bad.png").write_bytes(b"no picture")
    (data / "near" / "shapes" / "worse.png").write_bytes(b"")
    with pytest.raises(ImageUnreadableError, match=r"2 pictures cannot be used \(1 of id, 1 of shapes\): .*bad\.png"):
        run(data, "--methods", "mcm")
    arguments = [data, "--methods", "mcm,ants", "--allow-unreadable", "--out", folder / "out"]
    printed = run(*arguments, code=3).stdout
    assert "shapes (17 ID + 13)" in printed
    assert "2 pictures cannot be used (1 of id, 1 of shapes)" in printed
    assert "worse.png" in (folder / "out/table.txt").read_text()
    record = json.loads((folder / "out/results.json").read_text())
    assert [Path(one["picture"]).name for one in record["unreadable"]] == ["bad.png", "worse.png"]
    assert {one["unreadable_id_pictures"] for one in record["passes"]} == {1}
    with np.load(folder / "out/mcm/all/scores/shapes-seed0.npz") as file:
        assert len(file["conf"]) == 30
        lost = file["pred"] == -1
        assert lost.sum() == 2
        assert file["conf"][lost].max() < file["conf"][~lost].min()


def test_missing_pictures_are_named(folder: Path) -> None:
    lists = folder / "lists" / "benchmark_imglist" / "shapes"
    lists.mkdir(parents=True)
    pictures = sorted((folder / "data").rglob("*.png"))
    lines = [f"{path.relative_to(folder / 'data').as_posix()} " for path in pictures]
    (lists / "classes.txt").write_text("\n".join(CLASSES))
    (lists / "test_shapes.txt").write_text("\n".join(f"{line}{i % 4}" for i, line in enumerate(lines[:8])))
    (lists / "test_ninco.txt").write_text("\n".join([*(f"{line}-1" for line in lines[6:14]), "gone.png -1"]))
    arguments = [folder / "lists", "--root", folder / "data", "--methods", "mcm", "--config", folder / "data"]
    with pytest.raises(ImageNotFoundError, match=r"1 pictures cannot be used \(1 of ninco\): .*gone\.png: listed in"):
        run(*arguments)
    printed = run(*arguments, "--allow-unreadable", code=3).stdout
    assert "ninco (8 ID + 9)" in printed
    assert "2 pictures of ninco stand in the ID set too (2 by path, 0 by content)" in printed


def test_a_copy_of_an_id_picture_is_told(folder: Path) -> None:
    shutil.copy(next((folder / "data/id/guitar").iterdir()), folder / "data/far/blobs/copy.png")
    printed = run(folder / "data", "--methods", "mcm").stdout
    assert "1 pictures of blobs stand in the ID set too (0 by path, 1 by content)" in printed


def test_a_failing_mllm_yields_no_silent_numbers(folder: Path) -> None:
    write_settings(folder, default={"error": "BackendUnavailableError", "message": "nobody there"})
    methods = ["--methods", "mcm,eoe,ants,ants-ens,ants-frozen"]
    result = run(folder / "data", *methods, "--out", folder / "out", code=1)
    assert "FAILED: eoe on blobs, seed 0: NotEnoughAnswersError" in result.stderr
    assert "FAILED: ants-frozen on blobs" in result.stderr
    assert "DEGRADED: ants on blobs" in result.stderr
    assert "requests failed; these numbers are not the method's" in result.stderr
    assert "ants DEGRADED" in result.stdout
    assert "failed: 1 passes" in result.stdout
    # what was computed is kept, and what is spoilt says so
    assert (folder / "out/mcm/all/ood_openood.csv").read_text().count(",,") == 0
    assert (folder / "out/ants/all/ood_openood.csv").read_text().splitlines()[1] == "shapes,,,,,"
    assert (folder / "out/ants/all/scores/shapes-seed0.npz").is_file()
    record = json.loads((folder / "out/results.json").read_text())
    assert (record["failed_passes"], record["degraded_passes"]) == (4, 4)
    assert record["requests"]["failed"] > 0


def test_a_key_that_is_refused_stops_the_method_and_no_other(folder: Path) -> None:
    write_settings(folder, default={"error": "AuthenticationError", "message": "key refused"})
    result = run(folder / "data", "--methods", "ants,mcm", "--seeds", "0,1", code=1)
    assert result.stderr.count("not run again after AuthenticationError") == 3
    assert "key refused" in result.stderr


def test_what_was_computed_survives_an_interruption(folder: Path, encoder: ClipEncoder) -> None:
    out = ResultsFolder(folder / "out")

    def interrupt(event: ProgressEvent) -> None:
        if event.stage == "passes" and event.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(
            evaluate(
                read_benchmark(folder / "data"),
                load_settings(folder / "data"),
                EvaluationPlan(),
                ("mcm", "energy"),
                out=out,
                encoder=encoder,
                progress=interrupt,
            )
        )
    record = json.loads((folder / "out/results.json").read_text())
    assert not record["complete"]
    assert (len(record["passes"]), record["summary"]) == (3, [])
    assert len(list((folder / "out").rglob("*.npz"))) == 3
    assert not list((folder / "out").rglob("*.csv"))


def test_batch_size_one_and_one_class(folder: Path) -> None:
    for name in ("guitar", "sailboat", "dog_face"):
        shutil.rmtree(folder / "data" / "id" / name)
    printed = run(folder / "data", "--batch-size", "1", "--methods", "mcm,neglabel,adaneg,ants").stdout
    # the only class has all of the softmax, so that MCM tells nothing apart
    assert "batches of 1." in printed
    (mcm,) = [line for line in printed.splitlines() if "mcm" in line and "shapes" in line]
    assert mcm.split("│")[3:5] == [" 100.00 ", " 50.00 "]


def test_results_are_not_overwritten_unasked(folder: Path) -> None:
    arguments = [folder / "data", "--methods", "mcm", "--out", folder / "out"]
    run(*arguments)
    with pytest.raises(UsageError, match="--force"):
        run(*arguments)
    run(*arguments, "--ood", "blobs", "--force")
    assert [path.name for path in (folder / "out").rglob("*.npz")] == ["blobs-seed0.npz"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "does not exist"),
        (["."], "no benchmark in it"),
        (["data", "--methods", "mmc"], "did you mean mcm?"),
        (["data", "--seeds", "4-0"], "--seeds '4-0': write 0, or 0,3, or 0-4"),
        (["data", "--seeds", "1,1"], "each seed once"),
        (["data", "--prevalence", "half"], "write shares with commas"),
        (["data", "--prevalence", "1.5"], "above 0 and below 1"),
        (["data", "--prevalence", "0.01"], "prevalence 0.01 leaves 16 of 16 ID and 0 of"),
        (["data", "--ood", "sun"], "no OOD set sun"),
        (["data", "--near", "sun"], "no OOD set sun"),
        (["data", "--convention", "mine"], "'openood', 'id_positive', 'both'"),
        (["data", "--classes", "guitar"], "none of the 1 ID classes"),
        (["data", "--set", "clip.modle=x"], "did you mean 'clip.model'"),
        (["data", "--out", "data"], "not empty"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(
    arguments: list[str], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ants", "eval", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert not (folder / "store").exists(), "nobody was asked"
