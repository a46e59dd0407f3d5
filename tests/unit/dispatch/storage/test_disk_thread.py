"""The store's thread: what waits together is done together, and an error reaches those whom it concerns."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import pytest

from ants_engine.dispatch.storage.store import DiskThread


class Disk:
    """Takes note of what is done together; the first job of all holds the thread until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.log: list[Any] = []
        self.order: list[str] = []

    def look_up(self, keys: Iterable[str]) -> Mapping[str, Any]:
        self.log.append(list(keys))
        if "broken" in keys:
            raise ZeroDivisionError
        return {key: KeyError(key) if key == "bad" else f"of {key}" for key in keys if key != "absent"}

    def commit(self, written: Sequence[Any]) -> None:
        self.log.append(len(written))
        for each in written:
            if isinstance(each, Exception):
                raise each
            self.order.append("write")

    def hold(self) -> None:
        assert self.go.wait(10)


@pytest.fixture
async def both() -> AsyncIterator[tuple[DiskThread, Disk]]:
    disk = Disk()
    thread = DiskThread(disk.look_up, disk.commit)
    yield thread, disk
    disk.go.set()
    await asyncio.to_thread(thread.stop, lambda: None)


async def together(thread: DiskThread, disk: Disk, *waiting: Any) -> list[Any]:
    holder = asyncio.ensure_future(thread.run(disk.hold))
    await asyncio.sleep(0.02)
    tasks = [asyncio.ensure_future(each) for each in waiting]
    await asyncio.sleep(0.02)
    disk.go.set()
    await holder
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_lookups_that_wait_together_are_one_and_each_gets_its_own(both: tuple[DiskThread, Disk]) -> None:
    thread, disk = both
    found = await together(thread, disk, *(thread.look_up(key) for key in ("a", "b", "absent", "bad", "a")))
    assert disk.log == [["a", "b", "absent", "bad"]]
    assert found[:3] == ["of a", "of b", None]
    assert isinstance(found[3], KeyError)
    assert found[4] == "of a"


async def test_a_lookup_that_fails_as_a_whole_fails_for_all_and_for_no_write(both: tuple[DiskThread, Disk]) -> None:
    thread, disk = both
    found = await together(thread, disk, thread.look_up("a"), thread.look_up("broken"), thread.write("a"))
    assert [type(each) for each in found] == [ZeroDivisionError, ZeroDivisionError, type(None)]


async def test_a_commit_that_fails_fails_for_all_who_write(both: tuple[DiskThread, Disk]) -> None:
    thread, disk = both
    found = await together(thread, disk, thread.write("a"), thread.write(OSError("full")), thread.look_up("a"))
    assert [type(each) for each in found] == [OSError, OSError, str]


async def test_lookups_come_before_writes_and_other_work_after_what_waited_before_it(
    both: tuple[DiskThread, Disk],
) -> None:
    thread, disk = both
    order = disk.order
    holder = thread.run(disk.hold)
    waiting = [
        thread.write("b"),
        thread.look_up("a"),
        thread.write("b"),
        thread.run(lambda: order.append("work")),
        thread.write("b"),
    ]
    disk.go.set()
    await asyncio.gather(holder, *waiting)
    assert order == ["write", "write", "write", "work"]
    assert disk.log == [["a"], 3]


async def test_many_are_told_in_parts(both: tuple[DiskThread, Disk]) -> None:
    thread, disk = both
    found = await together(thread, disk, *(thread.look_up(f"{number}") for number in range(1000)))
    assert found == [f"of {number}" for number in range(1000)]
    assert max(len(keys) for keys in disk.log) <= 256
