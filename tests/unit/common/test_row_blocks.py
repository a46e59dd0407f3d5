"""Rows in blocks: in order, each by one thread, of sizes that agree, and never with bits of their neighbours."""

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ants_engine.common.row_blocks import Columns, RowBlocks, SideBySide

SHARED = SideBySide("shared")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def rows(count: int) -> torch.Tensor:
    return torch.arange(float(count))[:, None]


def doubled(columns: Columns) -> Columns:
    return [columns[0] * 2]


class Sized:
    """A function whose bits depend on how many rows it is given, unless their number is one of some."""

    def __init__(self, *alike: int) -> None:
        self.alike = alike
        self.calls: list[int] = []

    def __call__(self, columns: Columns) -> Columns:
        count = len(columns[0])
        self.calls.append(count)
        return [columns[0] * 2 + (0 if count in self.alike else count / 1024), columns[0].int()]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 31, 32, 33, 70])
def test_a_row_has_the_bits_of_a_block_whatever_stands_beside_it(count: int) -> None:
    work = Sized(4)
    first, second = RowBlocks(4, (1, 32)).run(work, [rows(count)])
    assert torch.equal(first, rows(count) * 2)
    assert torch.equal(second, rows(count).int())


def test_other_sizes_are_taken_where_a_trial_shows_the_same_bits() -> None:
    work = Sized(1, 4, 32)
    blocks = RowBlocks(4, (1, 32))
    assert torch.equal(blocks.run(work, [rows(70)])[0], rows(70) * 2)
    tried = len(work.calls)
    work.calls.clear()
    blocks.run(work, [rows(70)])
    assert work.calls == [32, 32, 4, 1, 1], "no second trial"
    assert tried > len(work.calls)


def test_a_size_that_gives_other_bits_is_not_taken() -> None:
    work = Sized(4)
    blocks = RowBlocks(4, (1, 32))
    blocks.run(work, [rows(37)])
    work.calls.clear()
    blocks.run(work, [rows(37)])
    assert work.calls == [4] * 10


def test_shapes_are_tried_each_for_itself() -> None:
    work = Sized(4)
    blocks = RowBlocks(4, (1,))
    blocks.run(work, [rows(1)], key="one bank")
    work.alike = (1, 4)
    work.calls.clear()
    blocks.run(work, [rows(1)], key="one bank")
    blocks.run(work, [rows(1)], key="another bank")
    blocks.run(work, [rows(1)], key="another bank")
    assert work.calls[0] == 4
    assert work.calls[-1] == 1


def test_a_trial_may_be_given_rows_of_its_own() -> None:
    seen = []

    def work(columns: Columns) -> Columns:
        seen.extend(columns[0].flatten().tolist())
        return doubled(columns)

    RowBlocks(4, (1,)).run(work, [torch.zeros(1, 1)], probe=lambda count: [rows(count) + 5])
    assert set(seen) == {0.0, 5.0, 6.0, 7.0, 8.0}


def test_no_rows() -> None:
    assert RowBlocks(4, (1,)).run(doubled, [torch.empty(0, 3)])[0].shape == (0, 3)


@pytest.mark.usefixtures("two_threads")
def test_blocks_are_computed_at_the_same_time_on_a_core_each_and_come_back_in_order() -> None:
    both = threading.Barrier(2)
    seen: list[tuple[int, int]] = []

    def work(columns: Columns) -> Columns:
        # passes only if the other block is being worked on too
        both.wait(30)
        seen.append((len(columns[0]), torch.get_num_threads()))
        return doubled(columns)

    found = RowBlocks(4, threads=SideBySide("test")).run(work, [rows(8)])
    assert torch.equal(found[0], rows(8) * 2)
    assert seen == [(4, 1), (4, 1)]


@pytest.mark.usefixtures("two_threads")
def test_every_core_has_a_block_before_blocks_are_large() -> None:
    sizes = []

    def work(columns: Columns) -> Columns:
        sizes.append(len(columns[0]))
        return doubled(columns)

    torch.set_num_threads(5)
    blocks = RowBlocks(4, (16,), SideBySide("test"))
    blocks.run(work, [rows(32)])
    assert sizes == [4] * 8
    torch.set_num_threads(2)
    blocks.run(work, [rows(32)])
    sizes.clear()
    blocks.run(work, [rows(32)])
    assert sizes == [16] * 2


@pytest.mark.usefixtures("two_threads")
def test_a_lone_block_is_computed_by_one_thread_too() -> None:
    seen = []

    def work(columns: Columns) -> Columns:
        seen.append(torch.get_num_threads())
        return doubled(columns)

    RowBlocks(4, threads=SHARED).run(work, [rows(1)])
    assert seen == [1]


@pytest.mark.usefixtures("two_threads")
def test_threads_of_others_keep_their_cores() -> None:
    RowBlocks(4, threads=SideBySide("test")).run(doubled, [rows(100)])
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_of_a_block_is_the_callers() -> None:
    def fail(columns: Columns) -> Columns:
        raise ValueError("no such picture")

    with pytest.raises(ValueError, match="no such picture"):
        RowBlocks(4, threads=SHARED).run(fail, [rows(100)])


def _in_child(results: "multiprocessing.Queue[float]") -> None:
    results.put(float(RowBlocks(4, threads=SHARED).run(doubled, [torch.ones(100, 1)])[0].sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    RowBlocks(4, threads=SHARED).run(doubled, [rows(100)])
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == 200.0
    child.join(60)
