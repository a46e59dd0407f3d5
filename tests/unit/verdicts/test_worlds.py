"""The sets that verdicts are measured on, and the replaying of builds and streams on them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ants_engine.datasets.benchmark import BenchmarkSet
from ants_engine.datasets.draw import draw
from ants_engine.method.metrics import auroc
from ants_engine.method.verified import VerifiedPictures
from benchmarks.clip_features import DATA
from benchmarks.verdicts.states import (
    DESCRIBE_LEAST,
    STRATA,
    answers,
    batch_build,
    drawn,
    judged,
    refined,
    stratified_sample,
    stream,
)
from benchmarks.verdicts.worlds import World, further_worlds, sources, standard_worlds
from tests.unit.verdicts.conftest import IDS, OODS


@pytest.mark.parametrize("prevalence", [0.5, 0.2, 0.01])
def test_a_stream_is_the_one_that_an_evaluation_draws(world: World, prevalence: float) -> None:
    sets = [
        BenchmarkSet(name, None, np.full(count, label))
        for name, count, label in ((world.id_name, IDS, 0), (world.ood_name, OODS, -1))
    ]
    wanted = draw(*sets, 3, prevalence)
    rows = drawn(world, 3, prevalence).numpy()
    assert (rows - IDS * (rows >= IDS)).tolist() == wanted.rows.tolist()
    assert (rows >= IDS).tolist() == wanted.is_ood.tolist()


def test_without_any_ood_the_stream_is_every_id_picture(world: World) -> None:
    assert sorted(drawn(world, 0, 0.0).tolist()) == list(range(IDS))


def test_the_last_state_of_a_stream_is_that_of_a_build(world: World) -> None:
    order = drawn(world, 0, 0.2)
    states = list(stream(world, order))
    assert torch.cat([rows for _, rows in states]).tolist() == order.tolist()
    built, last = batch_build(world, order), states[-1][0]
    for name in ("mined", "sentences", "look_alikes"):
        assert torch.equal(getattr(built, name), getattr(last, name))
    assert torch.equal(built.votes(order).log_odds(), last.votes(order).log_odds())


def test_a_confirmed_picture_gives_no_sentence(world: World) -> None:
    order = drawn(world, 0, 0.4)
    everything = torch.ones(len(world.features), dtype=torch.bool)
    assert len(batch_build(world, order).sentences) == 4
    assert len(batch_build(world, order, everything).sentences) == 0


def test_a_share_of_the_mined_is_described(world: World) -> None:
    order = drawn(world, 0, 0.4)
    whole, half = batch_build(world, order), batch_build(world, order, describe=0.6, least=1)
    assert whole.described.tolist() == whole.mined.tolist()
    assert len(half.described) == -(-len(half.mined) * 6 // 10)
    assert set(half.described.tolist()) < set(half.mined.tolist())
    assert len(batch_build(world, order, describe=0.01).described) == min(DESCRIBE_LEAST, len(whole.mined))


def test_a_stream_describes_its_share_and_never_changes_its_mind(world: World) -> None:
    order, asked, left = drawn(world, 0, 0.4), set[int](), set[int]()
    for state, _ in stream(world, order, describe=0.5, least=5):
        described = set(state.described.tolist())
        asked |= described
        left |= set(state.mined.tolist()) - described
    assert not asked & left
    assert 0.3 < len(asked) / len(asked | left) <= 0.51


def test_answers_are_wrong_as_often_as_asked(world: World) -> None:
    yes = answers(world, 0.8, 0.3)
    assert abs(float(yes[:IDS].float().mean()) - 0.8) < 0.08
    assert abs(float(yes[IDS:].float().mean()) - 0.3) < 0.1
    assert torch.equal(answers(world, 1.0, 0.0), world.is_id)


def test_a_sample_is_spread_over_the_scores_and_no_other_the_next_time() -> None:
    log_odds = torch.randn(205, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(205) + 1000
    sample = stratified_sample(log_odds, rows, 40)
    strata = np.array_split(torch.argsort(log_odds).numpy(), STRATA)
    assert [sum(int(place) in stratum for place in sample) for stratum in strata] == [4] * STRATA
    assert torch.equal(sample, stratified_sample(log_odds, rows, 40))
    assert not torch.equal(sample, stratified_sample(log_odds, rows, 40, seed=1))


def test_a_perfect_judge_ranks_no_worse_and_is_asked_each_picture_once(world: World) -> None:
    order = drawn(world, 0, 0.3)
    yes = answers(world, 1.0, 0.0)
    state = batch_build(world, order, yes, describe=0.5)
    verdict = judged(state, yes)
    known = verdict.is_id
    text, final = (auroc(z[known], z[~known]) for z in (verdict.text_log_odds, verdict.log_odds))
    assert 0.5 < text <= final
    assert torch.equal(verdict.yes, known[verdict.sample])
    assert max(len(state.described), 100) <= verdict.questions <= len(state.described) + 100


def test_verified_pictures_tell_the_texts_apart(world: World) -> None:
    order, yes = drawn(world, 0, 0.3), answers(world, 0.9, 0.1)
    state = batch_build(world, order, yes)
    pictures = VerifiedPictures.of(world.features[order], yes[order], order)
    better = refined(state, pictures)
    assert better.words is not None
    assert 0 < len(better.words) <= 200
    assert set(better.sentences.tolist()) <= set(state.sentences.tolist())
    assert list(better.votes(order).given())[-1] == "activated"
    nobody = torch.zeros_like(yes[order])
    assert refined(state, VerifiedPictures.of(world.features[order], nobody, order)) is state
    plain, final = judged(state, yes), judged(state, yes, refine=True)
    assert not torch.equal(plain.log_odds, final.log_odds)
    assert torch.equal(plain.sample, final.sample)
    torch.testing.assert_close(final.score(order), final.log_odds)
    torch.testing.assert_close(plain.score(order[:9]), plain.log_odds[:9])


def test_sources_are_none_where_there_are_no_features(tmp_path: Path) -> None:
    assert sources(tmp_path) is None


@pytest.mark.skipif(not (DATA / "clip_vitb32").is_dir(), reason="no stored features")
def test_the_sets_are_there() -> None:
    found = sources()
    assert found is not None
    worlds = standard_worlds(found)
    assert len(worlds) == (17 if found.emoji else 14)
    assert len({world.name for world in worlds}) == len(worlds)
    assert len(list(further_worlds(found))) == 12
    other = sources(food=DATA / "clip_vitb32" / "food10_500.npz")
    assert other is not None
    assert len(standard_worlds(other)) == 9
