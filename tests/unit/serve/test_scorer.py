import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from ants_engine.serve.scorer import PixelBudget, RequestBatcher


def decode(budget: PixelBudget, count: int, log: list[int], go: threading.Event) -> threading.Thread:
    def run() -> None:
        with budget.turn() as turn:
            turn.take(count)
            turn.take(count)
            log.append(count)
            go.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    return thread


def test_no_more_is_decoded_at_once_and_a_large_one_is_not_overtaken() -> None:
    budget, go, later = PixelBudget(100), threading.Event(), threading.Event()
    log: list[int] = []
    threads = [decode(budget, 60, log, go), decode(budget, 40, log, go)]
    assert (log, budget.held) == ([60, 40], 100)
    threads += [decode(budget, 500, log, later), decode(budget, 1, log, later)]
    assert log == [60, 40]
    go.set()
    time.sleep(0.05)
    assert (log, budget.held) == ([60, 40, 500], 500)
    later.set()
    for thread in threads:
        thread.join(10)
    assert (log, budget.held) == ([60, 40, 500, 1], 0)


def test_what_fails_gives_its_room_back() -> None:
    budget = PixelBudget(10)
    with suppress(ZeroDivisionError), budget.turn() as turn:
        turn.take(10)
        _ = 1 / 0
    assert budget.held == 0


class Work:
    """Doubles numbers, notes how many came at once, and can be held up."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, numbers: list[int]) -> list[int]:
        self.calls.append(numbers)
        self.go.wait(10)
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


async def test_what_arrives_during_a_call_makes_up_the_next(executor: ThreadPoolExecutor) -> None:
    work = Work()
    batcher = RequestBatcher(work, executor, 4, wait=10.0)
    batcher.start()
    work.go.clear()
    futures = [batcher.submit(0)]
    await asyncio.sleep(0.05)
    futures += [batcher.submit(number) for number in range(1, 7)]
    futures[2].cancel()
    work.go.set()
    assert await asyncio.gather(*(future for future in futures if not future.cancelled())) == [0, 2, 6, 8, 10, 12]
    # an idle one began at once, though it may wait ten seconds; what was given up took no place
    assert work.calls == [[0], [1, 3, 4, 5], [6]]
    await batcher.aclose()


async def test_the_first_waits_for_what_is_known_to_come_and_no_longer(executor: ThreadPoolExecutor) -> None:
    work = Work()
    batcher = RequestBatcher(work, executor, 4, wait=600.0)
    batcher.start()
    batcher.expect(2)
    first = batcher.submit(1)
    await asyncio.sleep(0.02)
    second = batcher.submit(2)
    batcher.expect(-2)
    assert await asyncio.wait_for(asyncio.gather(first, second), 300) == [2, 4]
    assert work.calls == [[1, 2]]
    await batcher.aclose()
    # one that never comes holds nothing up for longer than that
    batcher = RequestBatcher(work, executor, 4, wait=0.1)
    batcher.start()
    batcher.expect(1)
    assert await asyncio.wait_for(batcher.submit(5), 300) == 10
    await batcher.aclose()


async def test_a_call_that_fails_fails_its_own_and_no_other(executor: ThreadPoolExecutor) -> None:
    batcher = RequestBatcher(Work(), executor, 1, wait=0.0)
    batcher.start()
    bad, good = batcher.submit(13), batcher.submit(1)
    with pytest.raises(ValueError, match="13"):
        await bad
    assert await good == 2
    await batcher.aclose()


async def test_closing_leaves_nobody_waiting(executor: ThreadPoolExecutor) -> None:
    work = Work()
    batcher = RequestBatcher(work, executor, 1, wait=0.0)
    batcher.start()
    work.go.clear()
    futures = [batcher.submit(number) for number in range(3)]
    await asyncio.sleep(0.05)
    await batcher.aclose()
    work.go.set()
    assert [future.cancelled() for future in futures] == [True, True, True]
