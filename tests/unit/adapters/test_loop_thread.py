import asyncio
import gc
import threading

import pytest

from ants_engine.adapters.sync_ants import LoopThread
from ants_engine.errors import UsageError


async def twice(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def thread_of(loop: LoopThread) -> threading.Thread:
    async def which() -> threading.Thread:
        return threading.current_thread()

    return loop.run(which())


def test_runs_without_a_loop_and_keeps_one_loop_between_calls() -> None:
    loop = LoopThread()

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loop.run(twice(21)) == 42
    assert loop.run(which()) is loop.run(which())
    loop.close()


async def test_runs_where_a_loop_runs_already() -> None:
    loop = LoopThread()
    assert loop.run(twice(4)) == 8
    loop.close()


def test_errors_come_back_as_they_are() -> None:
    loop = LoopThread()

    async def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        loop.run(fail())
    assert loop.run(twice(1)) == 2
    loop.close()


def test_closing_ends_what_runs_then_closes_what_it_used_then_the_thread() -> None:
    loop = LoopThread()
    order: list[str] = []

    async def last() -> None:
        order.append("closed")

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            order.append("cancelled")

    async def start() -> "asyncio.Task[None]":
        loop.on_close(last)
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    loop.run(start())
    thread = thread_of(loop)
    loop.close()
    loop.close()
    assert order == ["cancelled", "closed"]
    assert not thread.is_alive()
    with pytest.raises(UsageError, match="closed"):
        loop.run(twice(1))


def test_a_forgotten_one_ends_its_thread() -> None:
    loop = LoopThread()
    thread = thread_of(loop)
    assert thread.is_alive()
    del loop
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_nothing_starts_before_it_is_needed() -> None:
    before = threading.active_count()
    loop = LoopThread()
    with pytest.raises(UsageError, match="not begun"):
        loop.on_close(lambda: asyncio.sleep(0))
    assert threading.active_count() == before
    loop.close()
    with pytest.raises(UsageError, match="closed"):
        loop.run(twice(1))
