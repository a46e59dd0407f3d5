"""What is made of the figures, and the command's face."""

from pathlib import Path

import pytest
import torch

from ants_engine.method.metrics import auroc, fpr95
from benchmarks.verdicts import k_centre, worlds
from benchmarks.verdicts.__main__ import main
from benchmarks.verdicts.bars import Ranking, Report
from benchmarks.verdicts.ranking import RULES
from benchmarks.verdicts.states import batch_build, drawn
from benchmarks.verdicts.worlds import World


def test_means_are_over_seeds_then_sets() -> None:
    found, truth = Ranking(), torch.arange(40) < 25
    scores = torch.randn(4, 40, generator=torch.Generator().manual_seed(0)) + truth
    found.add("ours", 0.5, "a", scores[0], truth)
    found.add("ours", 0.5, "a", scores[1], truth)
    found.add("ours", 0.1, "a|b", scores[2], truth)
    found.add("ours", 0.1, "a|b", scores[3], truth)
    single = [auroc(one[truth], one[~truth]) for one in scores]
    assert found.mean("ours", 0.5).auroc == pytest.approx(50 * (single[0] + single[1]))
    assert found.mean("ours").auroc == pytest.approx(25 * sum(single))
    wanted = sum(fpr95(one[truth], one[~truth], convention="id_positive") for one in scores[2:])
    assert found.mean("ours", world="a|b").fpr95_id == pytest.approx(50 * wanted)
    assert found.spread("ours", 0.5).auroc == pytest.approx(100 * abs(single[0] - single[1]) / 2**0.5)
    table = found.by_prevalence().splitlines()
    assert table[0].startswith("| AUROC / FPR95 | 50 % | 10 % |")
    assert found.by_world().splitlines()[3].startswith("| a → b |")


def test_a_bar_is_met_or_missed() -> None:
    report = Report("x")
    report.bar("low enough", 5.0, 5.0)
    report.bar("high enough", 5.0, 5.1, at_least=True)
    assert report.unmet == ["high enough"]
    assert str(report) == "## x\n\n- low enough: 5.00 (bar ≤ 5) met\n- high enough: 5.00 (bar ≥ 5.1) MISSED"


def test_every_rule_ranks_better_than_chance(world: World) -> None:
    order = drawn(world, 0, 0.3)
    state, known = batch_build(world, order), world.is_id[order]
    for rule in RULES.values():
        scores = rule(state, order)
        assert scores.shape == order.shape
        assert auroc(scores[known], scores[~known]) > 0.5


def test_without_features_it_says_that_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.verdicts.__main__.sources", lambda food: worlds.sources(tmp_path, food))
    assert main(["1"]) == 0
    assert "skipped" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["99"], ["1", "--far", "x"], ["1", "--food", "nowhere.npz"]])
def test_what_cannot_be_measured_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "no bar 99" in (said := capsys.readouterr().err) or "no file" in said


def test_all_ways_of_the_k_centre_bar_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("CANDIDATES", 600), ("PICKS", 50), ("FEW", 5), ("DIM", 16)):
        monkeypatch.setattr(k_centre, name, value)
    for way in k_centre.WAYS:
        k_centre._measure("clustered", way)
    assert capsys.readouterr().out.count('"seconds"') == 3
