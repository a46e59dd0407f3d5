import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ants_engine.clip.side_by_side import SIDE_BY_SIDE, SMALLEST, SideBySide


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def doubled(batch: torch.Tensor) -> torch.Tensor:
    return batch * 2


@pytest.mark.usefixtures("two_threads")
def test_parts_are_computed_at_the_same_time_on_a_core_each_and_come_back_in_order() -> None:
    both = threading.Barrier(2)
    seen: dict[str, tuple[int, int]] = {}

    def work(part: torch.Tensor) -> torch.Tensor:
        # passes only if the other part is being worked on too
        both.wait(30)
        seen[threading.current_thread().name] = (len(part), torch.get_num_threads())
        return part * 2

    batch = torch.arange(2 * SMALLEST + 1).unsqueeze(1)
    assert torch.equal(SideBySide().map(work, batch), batch * 2)
    assert sorted(seen.values()) == [(SMALLEST, 1), (SMALLEST + 1, 1)]


@pytest.mark.usefixtures("two_threads")
def test_threads_of_others_keep_their_cores() -> None:
    SideBySide().map(doubled, torch.ones(100, 1))
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("rows", [1, SMALLEST, 2 * SMALLEST - 1])
def test_few_rows_are_one_part(rows: int) -> None:
    names = []

    def work(part: torch.Tensor) -> torch.Tensor:
        names.append(threading.current_thread().name)
        return part

    SideBySide().map(work, torch.ones(rows, 1))
    assert names == [threading.current_thread().name]


@pytest.mark.usefixtures("two_threads")
def test_an_error_of_a_part_is_the_callers() -> None:
    def fail(part: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such picture")

    with pytest.raises(ValueError, match="no such picture"):
        SideBySide().map(fail, torch.ones(100, 1))


def _in_child(results: "multiprocessing.Queue[float]") -> None:
    results.put(float(SIDE_BY_SIDE.map(doubled, torch.ones(100, 1)).sum()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    SIDE_BY_SIDE.map(doubled, torch.ones(100, 1))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_child, args=(results,))
    child.start()
    assert results.get(timeout=60) == 200.0
    child.join(60)
