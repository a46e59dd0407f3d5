import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.baselines.adaneg import AdaNeg, LabelMemory
from ants_engine.baselines.baseline import TextSpace
from ants_engine.baselines.frozen import NegLabel
from ants_engine.errors import FeatureError, UsageError
from ants_engine.method.neglabel import equal_groups
from tests.unit.baselines.dense_adaneg import DenseAdaNeg
from tests.unit.baselines.spaces import PICTURE, hand_space, random_space
from tests.unit.detector.detectors import unit_rows

FEATURES = Path(__file__).resolve().parents[4] / "shared" / "data" / "clip_vitb32"


def stream(rows: int, seed: int, space: TextSpace) -> torch.Tensor:
    """Pictures near to texts of the space, as many of classes as of negatives."""
    texts = torch.cat([space.class_features, space.negatives])
    half = torch.rand(rows, generator=torch.Generator().manual_seed(seed)) < 0.5
    pick = torch.randint(10_000, (rows,), generator=torch.Generator().manual_seed(seed + 1))
    classes, negatives = len(space.class_features), len(space.negatives)
    near = torch.where(half, pick % classes, classes + pick % max(negatives, 1))
    return texts[near.clamp(max=len(texts) - 1)] + 0.8 * unit_rows(rows, seed + 2)


def test_a_clear_picture_draws_its_class_nearer() -> None:
    predicted, score = AdaNeg(hand_space(negatives=1), groups=None).score(PICTURE)
    # S_nl = (8 + 16) / (8 + 16 + 1) = 0.96 > 0.75: stored under the second class, whose proxy becomes (1, 3) / sqrt 10
    nearer = 2 ** (5 * 3 / math.sqrt(10))
    assert score.item() == pytest.approx((8 + nearer) / (8 + nearer + 1) + 0.1 * 0.96, abs=1e-6)
    assert (predicted.tolist(), predicted.dtype, score.dtype) == ([1], torch.int64, torch.float32)


def test_a_clear_outlier_draws_its_negative_nearer() -> None:
    turned = torch.tensor([[-0.96, 0.28]])
    _, score = AdaNeg(hand_space(negatives=1), groups=None).score(turned)
    # logits: -4.8 and 1.4 of the classes, 5 * 0.936 of the negative (-0.8, 0.6)
    ids, negative = 2**-4.8 + 2**1.4, 2**4.68
    initial = ids / (ids + negative)
    assert initial < 0.25
    proxy = np.array([-0.8, 0.6]) + np.array([-0.96, 0.28])
    nearer = 2 ** (5 * float(proxy @ np.array([-0.96, 0.28])) / float(np.linalg.norm(proxy)))
    assert score.item() == pytest.approx(ids / (ids + nearer) + 0.1 * initial, abs=1e-6)


def test_what_is_not_clear_changes_nothing() -> None:
    space = random_space(3, 10, groups=2)
    baseline = AdaNeg(space, groups=None, gap=1.0)
    features = stream(50, 1, space)
    initial = NegLabel(space).score(features)[1]
    assert 0 < initial.min() < 0.25
    assert initial.max() > 0.75
    _, score = baseline.score(features)
    torch.testing.assert_close(score, 1.1 * initial)


@pytest.mark.parametrize("batch", [1, 16, 100])
@pytest.mark.parametrize(("classes", "negatives", "groups"), [(3, 6, 1), (1, 5, 2), (4, 30, 7), (7, 1, 1)])
def test_parity_with_the_dense_memory(classes: int, negatives: int, groups: int, batch: int) -> None:
    space = random_space(classes, negatives, groups=groups, tau=0.1)
    ours, dense = AdaNeg(space, groups=None, length=4), DenseAdaNeg(space, length=4)
    for part in stream(300, 5, space).split(batch):
        predicted, score = ours.score(part)
        expected, literal = dense.score(part)
        torch.testing.assert_close(score.double(), literal, atol=1e-5, rtol=1e-5)
        assert predicted.tolist() == expected.tolist()
    assert max(dense.filled) == 4, "a memory that never fills up is no test"
    assert ours.pictures == sum(dense.filled) - len(dense.filled)


@pytest.mark.skipif(not FEATURES.is_dir(), reason="the recorded CLIP features are not here")
def test_parity_on_real_features() -> None:
    texts = np.load(FEATURES / "texts.npz")
    of = [np.load(FEATURES / name)["image_features"] for name in ("cifar10_500.npz", "food10_500.npz")]
    pictures = torch.tensor(np.concatenate(of)).float()[
        torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    ]
    lvis, other = (torch.tensor(texts["features"][texts["source"] == name]).float() for name in ("lvis", "imagenet"))
    space = TextSpace(
        class_names=("a",) * 20,
        class_features=torch.nn.functional.normalize(lvis[:20], dim=1),
        negatives=torch.nn.functional.normalize(other, dim=1),
        groups=equal_groups(len(other), 5, seed=0),
        temperature=0.01,
    )
    ours, dense = AdaNeg(space, groups=None), DenseAdaNeg(space)
    for part in pictures.split(256):
        predicted, score = ours.score(part)
        expected, literal = dense.score(part)
        torch.testing.assert_close(score.double(), literal, atol=1e-4, rtol=1e-4)
        assert predicted.tolist() == expected.tolist()
    assert ours.pictures > 300


@given(st.permutations(range(60)))
def test_order_within_a_batch_does_not_matter(order: list[int]) -> None:
    space = random_space(3, 6, tau=0.1)
    baseline = AdaNeg(space, groups=None, length=3)
    features = stream(60, 7, space)
    predicted, score = baseline.score(features)
    baseline.reset()
    other, same = baseline.score(features[order])
    torch.testing.assert_close(same, score[order], atol=1e-5, rtol=1e-5)
    assert other.tolist() == predicted[order].tolist()


def test_batches_matter_to_the_scores_and_not_to_the_memory() -> None:
    space = random_space(3, 6, tau=0.1)
    pictures, last = stream(200, 9, space), stream(40, 10, space)
    one, other = AdaNeg(space, groups=None, length=3), AdaNeg(space, groups=None, length=3)
    at_once = one.score(pictures)[1]
    piecewise = torch.cat([other.score(part)[1] for part in pictures.split(7)])
    assert not torch.allclose(at_once, piecewise, atol=1e-3)
    torch.testing.assert_close(one.score(last)[1], other.score(last)[1], atol=1e-5, rtol=1e-5)


def test_reset_forgets_and_the_memory_is_bounded() -> None:
    space = random_space(3, 6, tau=0.1)
    baseline = AdaNeg(space, groups=None, length=3)
    first = baseline.score(stream(64, 11, space))[1]
    for seed in range(12, 20):
        baseline.score(stream(64, seed, space))
    assert baseline.pictures == 9 * 2
    baseline.reset()
    assert baseline.pictures == 0
    assert torch.equal(baseline.score(stream(64, 11, space))[1], first)


def test_groups_may_be_cut_anew() -> None:
    space = random_space(3, 20, groups=20, tau=0.1)
    features = stream(60, 13, space)
    anew = AdaNeg(replace(space, groups=equal_groups(20, 5, seed=0))).score(features)[1]
    assert torch.equal(AdaNeg(space, groups=5).score(features)[1], anew)
    assert not torch.allclose(AdaNeg(space, groups=None).score(features)[1], anew, atol=1e-3)


def test_a_weight_of_zero_leaves_the_proxies_alone() -> None:
    space = random_space(3, 6, tau=0.1)
    features = stream(60, 14, space)
    predicted, score = AdaNeg(space, groups=None, weight=0.0).score(features)
    assert predicted.tolist() == NegLabel(space).score(features)[0].tolist()
    assert score.max() <= 1


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("classes", "negatives"), [(1, 0), (1, 1), (3, 0), (3, 40)])
def test_extreme_temperatures_and_few_texts(classes: int, negatives: int, tau: float) -> None:
    space = random_space(classes, negatives, groups=3, tau=tau)
    baseline = AdaNeg(space, groups=None)
    for rows in (1, 0, 50):
        predicted, score = baseline.score(stream(rows, 15, space))
        assert predicted.shape == score.shape == (rows,)
        assert torch.isfinite(score).all()
        assert ((score >= 0) & (score <= 1.1 + 1e-6)).all()
        if not negatives:
            torch.testing.assert_close(score, torch.full((rows,), 1.1))


def test_an_outlier_is_taken_for_the_nearest_class_however_far() -> None:
    space = replace(hand_space(negatives=1), temperature=1e-4)
    # its probability for either class is 0 in float32
    assert AdaNeg(space, groups=None).score(torch.tensor([[-0.8, 0.6], [-0.6, -0.8]]))[0].tolist() == [1, 0]


def test_what_does_not_fit_is_refused() -> None:
    space = random_space(3, 5)
    for wrong in ({"length": 1}, {"thres": 1.5}, {"gap": -0.1}, {"gap": math.nan}, {"weight": -1.0}, {"groups": 0}):
        with pytest.raises(UsageError, match="adaneg: "):
            AdaNeg(space, **wrong)
    baseline = AdaNeg(space, groups=None)
    with pytest.raises(FeatureError):
        baseline.score(torch.full((3, 16), math.nan))
    assert baseline.pictures == 0


def east(angle: float) -> torch.Tensor:
    """A unit vector in the plane."""
    turned = torch.tensor(angle).deg2rad()
    return torch.stack([turned.cos(), turned.sin()])


def test_a_proxy_is_the_direction_of_the_text_and_its_pictures() -> None:
    memory = LabelMemory(torch.eye(2), length=3)
    assert [part.tolist() for part in memory.proxies()] == [[], []]
    memory.offer(1, east(30), entropy=0.5)
    labels, proxies = memory.proxies()
    assert labels.tolist() == [1]
    # halfway between 90 and 30 degrees
    torch.testing.assert_close(proxies, east(60)[None])


def test_a_full_label_keeps_its_surest_pictures() -> None:
    memory = LabelMemory(torch.eye(2), length=3)
    for angle, entropy in [(10.0, 0.9), (20.0, 0.2), (30.0, 0.9), (40.0, 0.5), (50.0, 0.4)]:
        memory.offer(0, east(angle), entropy)
    assert len(memory) == 2
    # 0.9 comes too late, 0.5 takes the place of the other 0.9, and 0.4 that of 0.5
    expected = torch.nn.functional.normalize(east(0) + east(20) + east(50), dim=0)
    torch.testing.assert_close(memory.proxies()[1], expected[None])


def test_equally_sure_pictures_stay_where_they_are() -> None:
    memory = LabelMemory(torch.eye(2), length=2)
    memory.offer(0, east(30), 0.0)
    memory.offer(0, east(80), 0.0)
    memory.offer(0, east(80), float("nan"))
    torch.testing.assert_close(memory.proxies()[1], east(15)[None])


@given(st.permutations(range(12)))
def test_the_order_of_the_pictures_does_not_matter(order: list[int]) -> None:
    pictures = unit_rows(12, 5)
    memories = [LabelMemory(unit_rows(3, 1), length=4) for _ in range(2)]
    for memory, rows in zip(memories, (range(12), order), strict=True):
        for row in rows:
            memory.offer(row % 2, pictures[row], entropy=abs(row - 6.1))
    kept = [dict(zip(labels.tolist(), proxies, strict=True)) for labels, proxies in (m.proxies() for m in memories)]
    assert kept[0].keys() == kept[1].keys() == {0, 1}
    for label in (0, 1):
        torch.testing.assert_close(kept[0][label], kept[1][label])


def test_it_grows_with_the_labels_that_have_pictures_and_no_further() -> None:
    texts, pictures = unit_rows(300, 2), unit_rows(900, 3)
    memory = LabelMemory(texts, length=3)
    for row, picture in enumerate(pictures):
        memory.offer(row % 150, picture, entropy=float(row))
    labels, proxies = memory.proxies()
    assert len(memory) == 150 * 2
    assert sorted(labels.tolist()) == list(range(150))
    for label, proxy in zip(labels.tolist(), proxies, strict=True):
        own = texts[label] + pictures[label] + pictures[label + 150]
        torch.testing.assert_close(proxy, own / own.norm())


def test_a_kept_picture_does_not_follow_its_batch() -> None:
    memory = LabelMemory(torch.eye(2), length=2)
    batch = torch.stack([east(20)])
    memory.offer(0, batch[0], 0.1)
    batch.zero_()
    torch.testing.assert_close(memory.proxies()[1], east(10)[None])
    assert memory.proxies()[1].norm() == pytest.approx(1.0)
