import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.cli.main import commands
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.errors import UsageError
from ants_engine.report.document import Document
from tests.docs.blocks import blocks_of
from tests.integration.conftest import CLASSES, ROOT, WORLD, describe
from tests.support.report_world import PLAIN, features, picture_files, taught


def run(*arguments: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(commands, [str(each) for each in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return result


def document(page: Path) -> Document:
    """Read the data out of a page."""
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return Document.model_validate(json.loads(found[1]))


@dataclass(frozen=True)
class Place:
    """A detector, the pictures that it was built on, and the folder of its run."""

    pictures: Path
    detector: Path
    runs: Path

    @property
    def run(self) -> Path:
        """Return the only run's folder."""
        (folder,) = self.runs.iterdir()
        return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, images: list[Image.Image], encoder: ClipEncoder) -> Place:
    """What a user has after ``ants build``."""
    folder = tmp_path_factory.mktemp("place")
    made = Place(folder / "pictures", folder / "d", folder / "runs")
    made.pictures.mkdir()
    for number, image in enumerate(images[:24]):
        image.save(made.pictures / f"{number:02}.png")
    (folder / "lexicon.txt").write_text("".join(f"{word}\tnoun\n" for word in ("table", "wheel", "stone", "lamp")))
    settings: dict[str, Any] = {
        "clip": {"model": str(WORLD / "clip"), "batch_size": 8},
        "lexicon": {"source": str(folder / "lexicon.txt")},
        "neglabel": {"groups": 2, "min_group_length": 2},
        "mining": {"gamma": 1.0},
        "dispatch": {"store": str(folder / "store"), "runs": str(made.runs)},
        "text": {"feature_cache": None},
        "progress": {"bar": "off"},
    }

    async def make() -> None:
        mllm = ScriptedBackend.from_callable(describe)
        ants = await ANTS.build(CLASSES, str(made.pictures), backend=mllm, encoder=encoder, config=settings)
        ants.save(made.detector)

    asyncio.run(make())
    return made


def test_pictures_labels_run_and_what_cannot_be_read(tmp_path: Path, place: Place) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(place.pictures, pictures)
    (pictures / "bad.png").write_bytes(b"no picture")
    labels = tmp_path / "labels.csv"
    rows = [f"{number:02}.png,{CLASSES[number % 4] if number % 2 else ''}" for number in range(24)]
    labels.write_text("\n".join(rows))
    page = tmp_path / "out" / "page.html"
    said = run("report", place.detector, pictures, "--labels", labels, "-o", page, "--title", "A <title>", code=3)
    assert str(page) in said.stdout
    assert f"unreadable: {pictures / 'bad.png'}: is not a picture" in said.stderr
    found = document(page)
    assert found.title == "A <title>"
    assert found.pictures is not None
    assert len(found.pictures) == 25
    assert sum(error is not None for error in found.pictures.errors) == 1
    assert sum(thumbnail is not None for thumbnail in found.pictures.thumbnails) == 24
    assert found.pictures.sets is not None
    assert found.pictures.sets.count("ood") == 12
    assert found.comparison is not None
    assert {"ANTS", "MCM", "NegLabel (S_nl)"} <= {method.name for method in found.comparison.methods}
    sentences = [text for text in found.texts if text.kind == "ens"]
    assert sentences
    assert all(text.picture is None and text.nearest_class is not None for text in sentences), "these are copies"
    for row, weighed in enumerate(found.pictures.weighed):
        score = found.pictures.id_score[row]
        assert sum(one.amount for one in weighed) <= (0 if score is None else 1 - score) + 1e-4
    assert found.requests is not None, "the detector knows the run that it came out of"
    assert len(found.requests.seconds) == 16
    assert {one.method for one in found.maps} >= {"PCA"}
    assert set(found.missing) == {"batches"}
    scores = json.loads(run("score", place.detector, pictures, "--json", code=3).stdout)
    for row, name in enumerate(found.pictures.names):
        wanted = scores["id_score"][scores["name"].index(name)]
        assert found.pictures.id_score[row] == pytest.approx(wanted, abs=1e-7)


def test_without_pictures_it_shows_what_the_detector_has_kept(tmp_path: Path, place: Place) -> None:
    page = tmp_path / "page.html"
    said = run("report", place.detector, "-o", page)
    found = document(page)
    assert found.pictures is not None
    assert len(found.pictures) == 24
    assert found.pictures.names[0].endswith("00.png"), "all looked foreign, so all names were kept"
    assert not any(found.pictures.thumbnails)
    assert f"ants report {place.detector} my_pictures/" in found.missing["thumbnails"]
    assert "my_pictures/" in said.stderr
    assert found.maps


def test_a_stream_is_remembered_by_the_folder(tmp_path: Path) -> None:
    ants = asyncio.run(taught(store=tmp_path))
    ants.save(tmp_path / "d")
    page = tmp_path / "page.html"
    run("report", tmp_path / "d", "-o", page)
    found = document(page)
    assert [one.batch for one in found.batches] == [1, 2, 3, 4, 5, 6]
    assert sum(one.pictures for one in found.batches) == 120
    assert found.batches[-1].ens_texts > found.batches[0].ens_texts > 0
    assert sum(one.calls for one in found.batches) == len(found.requests.seconds if found.requests else ())
    assert all(one.latency is None or 0 < one.latency <= (one.latency_most or 0) for one in found.batches)
    assert 1 < max(one.concurrency for one in found.batches) <= 4
    assert "batches" not in found.missing


def test_a_run_alone_and_with_its_detector(tmp_path: Path, place: Place) -> None:
    page = tmp_path / "page.html"
    run("report", place.run, "-o", page)
    alone = document(page)
    assert alone.requests is not None
    assert alone.pictures is None
    assert alone.requests.state == "done"
    run("report", place.run, place.pictures, "--detector", place.detector, "-o", page)
    both = document(page)
    assert both.requests == alone.requests
    assert both.pictures is not None
    sentences = [text for text in both.texts if text.kind == "ens"]
    assert all(text.picture is not None for text in sentences), "these are the pictures that were described"
    run("report", place.detector, "--run", place.run.name[-6:], "--set", f"dispatch.runs={place.runs}", "-o", page)
    assert document(page).requests == alone.requests


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no run"),
        (["{run}", "a.png"], "--detector"),
        (["{run}", "--run", "x"], "no detector folder"),
        (["{d}", "--detector", "{d}"], "a detector itself"),
        (["{d}", "--labels", "{d}/detector.json"], "none of its"),
        (["{d}", "{d}/detector.json"], "none of the 1 pictures can be read, first: .*detector.json"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, place: Place, arguments: list[str], said: str) -> None:
    filled = [each.format(run=place.run, d=place.detector) for each in arguments]
    with pytest.raises(Exception, match=said):
        run("report", *filled, "-o", tmp_path / "page.html", "--set", f"dispatch.runs={place.runs}")
    assert not (tmp_path / "page.html").exists()


async def test_features_in_place_of_clip_and_labels_of_every_kind(tmp_path: Path) -> None:
    ants = await taught()
    rows, labels = features(40, PLAIN)
    files = picture_files(tmp_path / "pictures", 40)
    pages = []
    for given in (labels, dict(zip(files, labels, strict=True))):
        path = await ants.write_report(tmp_path / "page.html", files, features=rows, labels=given)
        pages.append(document(path))
    assert pages[0].pictures == pages[1].pictures
    assert pages[0].comparison == pages[1].comparison
    before = ants.score_features(rows)
    assert list(pages[0].pictures.id_score) == pytest.approx(before.id_score.tolist())  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="39 labels for 40 pictures"):
        await ants.write_report(tmp_path / "page.html", files, features=rows, labels=labels[:-1])


def test_another_benchmarks_labels_are_refused(tmp_path: Path, place: Place) -> None:
    with pytest.raises(UsageError, match="label"):
        run("report", place.detector, "--labels", WORLD / "pictures", "-o", tmp_path / "page.html")


def test_the_code_of_its_page_runs(tmp_path: Path) -> None:
    """docs/report.md: in processes of their own, because a fork of a warm Python hangs in its numerical libraries."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    here = "tests/integration/test_report_command.py"
    page = blocks_of(ROOT / "docs" / "report.md")
    blocks = [(one.language, one.code) for one in page if one.run_by == here]
    assert [language for language, _ in blocks] == ["sh", "python"]
    main = (
        "import asyncio\n\n\nasync def main():\n" + textwrap.indent(blocks[1][1], "    ") + "\n\nasyncio.run(main())\n"
    )
    (tmp_path / "main.py").write_text(main, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in (["sh", "-ec", blocks[0][1]], [sys.executable, "main.py"]):
        subprocess.run(command, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True, capture_output=True)
    for name in ("report.html", "panda_and_ghost.html"):
        assert document(tmp_path / name).pictures is not None
