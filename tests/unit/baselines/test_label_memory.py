import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.baselines.adaneg import LabelMemory
from tests.unit.detector.detectors import unit_rows


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
