"""Farthest point first against the rule written out, and the net of a stream."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ants_engine.method import spread
from ants_engine.method.spread import EpsilonNet, farthest_first, share_to_describe
from tests.unit.detector.detectors import unit_rows


def literal(features: Tensor, count: int) -> list[int]:
    nearness = torch.full((len(features),), -torch.inf)
    rows: list[int] = []
    for _ in range(min(count, len(features))):
        rows.append(min((row for row in range(len(features)) if row not in rows), key=lambda row: nearness[row]))
        nearness = torch.maximum(nearness, features @ features[rows[-1]])
    return rows


@given(
    count=st.integers(0, 70),
    rows=st.integers(1, 60),
    dim=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    members=st.integers(1, 70),
    shape=st.sampled_from([(1, 1), (3, 2), (256, 2048)]),
)
def test_it_is_the_greedy_rule_with_all_its_ties(
    count: int, rows: int, dim: int, seed: int, members: int, shape: tuple[int, int]
) -> None:
    # whole numbers: products are exact, and in few dimensions most of them are equal
    features = torch.randint(-2, 3, (rows, dim), generator=torch.Generator().manual_seed(seed)).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "_MEMBERS", members)
        patch.setattr(spread, "_ROWS", shape[0])
        patch.setattr(spread, "_COLUMNS", shape[1])
        assert farthest_first(features, count).tolist() == literal(features, count)


def test_every_pick_of_many_is_the_farthest_to_float32() -> None:
    features = unit_rows(5000, 1, 32)
    picks = farthest_first(features, 3000)
    assert len(set(picks.tolist())) == 3000
    exact, nearness = features.double(), torch.full((5000,), -2.0, dtype=torch.float64)
    for made, row in enumerate(picks.tolist()):
        assert made == 0 or nearness[row] <= nearness.min() + 1e-6
        nearness = torch.maximum(nearness, exact @ exact[row])
        nearness[picks[: made + 1]] = torch.inf


def test_equal_pictures_are_picked_in_their_order() -> None:
    features = unit_rows(1, 0, 8).repeat(9, 1)
    assert farthest_first(features, 5).tolist() == [0, 1, 2, 3, 4]


def test_half_precision_is_computed_in_float32() -> None:
    features = unit_rows(300, 2, 16).half()
    assert torch.equal(farthest_first(features, 40), farthest_first(features.float(), 40))


def test_fewer_rows_lie_far_from_a_spread_out_choice() -> None:
    features = torch.cat([unit_rows(1, seed, 16) + 0.05 * unit_rows(60, seed + 50, 16) for seed in range(6)])
    features = torch.nn.functional.normalize(features, dim=1)
    chosen = features[farthest_first(features, 6)]
    assert float((features @ chosen.T).amax(dim=1).min()) > 0.9
    assert float((features @ features[:6].T).amax(dim=1).min()) < 0.8


@pytest.mark.parametrize("features", [torch.zeros(3), torch.full((3, 2), torch.nan)])
def test_what_is_no_matrix_of_numbers_is_refused(features: Tensor) -> None:
    with pytest.raises(ValueError, match=r"features (must be|hold)"):
        farthest_first(features, 2)


def test_a_share_is_bounded() -> None:
    assert share_to_describe(1000, 0.5, 50) == 500
    assert share_to_describe(1001, 0.5, 50, most=300) == 300
    assert share_to_describe(60, 0.5, 50) == 50
    assert share_to_describe(20, 0.5, 50) == 20
    assert share_to_describe(0, 0.5, 50) == 0


def run(
    net: EpsilonNet, features: Tensor, share: float, least: int, most: int, batch: int
) -> tuple[EpsilonNet, Tensor]:
    parts = []
    for rows in torch.split(features, batch):
        net, taken = net.choose(rows, share=share, least=least, most=most)
        parts.append(taken)
    return net, torch.cat(parts)


def sources(count: int, seed: int, kinds: int = 40) -> Tensor:
    """Return pictures of some kinds, alike within each."""
    kind = torch.randint(kinds, (count,), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(unit_rows(kinds, 7, 32)[kind] + 0.6 * unit_rows(count, seed, 32), dim=1)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_the_net_follows_the_budget(share: float) -> None:
    net, taken = run(EpsilonNet(), sources(2000, 3), share, 50, 10_000, 64)
    assert net.seen == 2000
    assert net.chosen == int(taken.sum())
    assert 0.9 * share <= net.chosen / 2000 <= share
    late = net.cosine
    assert run(EpsilonNet(), sources(2000, 3), 0.1, 50, 10_000, 64)[0].cosine < late


def test_the_net_never_exceeds_its_budget() -> None:
    _, taken = run(EpsilonNet(), unit_rows(400, 5, 32), 0.3, 20, 10_000, 7)
    for seen in range(1, 401):
        assert int(taken[:seen].sum()) <= max(20, share_to_describe(seen, 0.3, 0))


def test_the_net_chooses_the_same_in_any_batches() -> None:
    features = sources(300, 9)
    one, whole = run(EpsilonNet(), features, 0.5, 10, 10_000, 300)
    two, parts = run(EpsilonNet(), features, 0.5, 10, 10_000, 17)
    assert torch.equal(whole, parts)
    assert (one.cosine, one.chosen) == (two.cosine, two.chosen)


def test_the_net_takes_what_is_new_and_leaves_what_is_known() -> None:
    net, _ = run(EpsilonNet(), sources(400, 1), 0.5, 10, 10_000, 50)
    _, taken = net.choose(torch.cat([net.described[:1], unit_rows(1, 99, 32)]), share=0.9, least=0, most=10)
    assert taken.tolist() == [False, True]


def test_the_net_remembers_the_latest_and_describes_all_where_all_is_asked_for() -> None:
    net, taken = run(EpsilonNet(), sources(100, 2).repeat(2, 1), 1.0, 0, 30, 20)
    assert taken.all()
    assert torch.equal(net.described, sources(100, 2)[-30:])
    assert not net.choose(torch.zeros(0, 32), share=0.5, least=0, most=30)[1].numel()
