import json
import re
from pathlib import Path

from click.testing import CliRunner

from ants_engine.cli.main import commands
from ants_engine.datasets.world import mixed_stream, read_world
from ants_engine.report.document import Document
from tests.integration.conftest import WORLD


def run(tmp_path: Path, *arguments: str) -> str:
    """Run the demo on the embedded world, with the real CLIP and the real MLLM, on few pictures."""
    own = ["--set", f"dispatch.store={tmp_path / 'store'}", "--set", f"text.feature_cache={tmp_path / 'features'}"]
    own += ["--set", f"dispatch.runs={tmp_path / 'runs'}", "--report", str(tmp_path / "report.html")]
    result = CliRunner().invoke(
        commands, ["demo", str(WORLD), "--share", "0.04", *own, *arguments], standalone_mode=False
    )
    assert result.exception is None, result.exception
    return result.stdout


def test_the_demo_prints_a_table_reasons_and_a_bit_identical_replay(tmp_path: Path) -> None:
    printed = run(tmp_path)
    for method in ("MCM", "NegLabel", "ANTS S_ens", "ANTS S_vsnl", "ANTS S_ada"):
        assert method in printed
    assert "convention openood" in printed
    assert printed.count("id_score") == 10, "ten pictures are explained"
    assert "the scores are bit-identical" in printed
    page = tmp_path / "report.html"
    assert printed.rstrip().endswith(str(page)), "it ends with the path of the page"
    assert page.stat().st_size <= 8_000_000
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    shown = Document.model_validate(json.loads(found[1]))
    assert not shown.missing, "every section has its data"
    assert shown.pictures is not None
    assert all(shown.pictures.thumbnails)
    assert shown.requests is not None
    assert shown.requests.seconds
    assert shown.comparison is not None
    assert len(shown.batches) == 8
    assert any(batch.calls for batch in shown.batches)


def test_per_set_streams_and_several_seeds(tmp_path: Path) -> None:
    facts = json.loads(run(tmp_path, "--each", "--seeds", "0,1", "--json"))
    assert [(one["seed"], one["sets"]) for one in facts["runs"]] == [
        (seed, sorted(["id", ood])) for seed in (0, 1) for ood in ("far", "near")
    ]
    assert facts["replay_identical"]
    assert not (tmp_path / "report.html").exists()
    assert facts["runs"][0]["metrics"]["MCM"]["far"]["AUROC"] > 50


def test_streams_are_seeded_and_share_their_id_pictures() -> None:
    world = read_world(WORLD)
    assert len(world.classes) == 42
    assert {image.label for image in world.sets["id"]} == set(range(42))
    assert {image.label for name in ("near", "far") for image in world.sets[name]} == {-1}
    one, same, other = (mixed_stream(world, seed, 0.25) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    near = mixed_stream(world, 3, 0.25, ["near"])
    assert {i.path for i, s in zip(near.images, near.sets, strict=True) if s == "id"} == {
        i.path for i, s in zip(one.images, one.sets, strict=True) if s == "id"
    }
    assert set(near.sets) == {"id", "near"}
