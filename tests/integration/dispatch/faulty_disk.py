"""A store on a disk with a fault: ``python -m tests.integration.dispatch.faulty_disk KIND FOLDER``, in a namespace.

Each kind ends with the word ``well`` on standard output, or with a traceback.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.storage.upkeep import repair, verify
from ants_engine.errors import StoreUnavailableError
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

TEXT = "x" * 3000


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


async def stored(folder: Path) -> int:
    async with ResponseStore(folder, strict=True) as store:
        return len([entry async for entry in store.entries()])


async def full(folder: Path) -> None:
    """A file system of 600 KiB fills up in mid-run, and has room again later."""
    mount("-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder))
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    kept = 0
    async with ResponseStore(folder / "store") as store:
        with pytest.raises(StoreUnavailableError, match=r"No space left.*free some space on its disk, then run again"):
            while True:
                await store.put(make_request(f"{kept}"), Answer(TEXT))
                kept += 1
        assert kept > 10
        for number in range(kept):
            assert await store.get(make_request(f"{number}").key) is not None
        with pytest.raises(StoreUnavailableError, match="No space left"):
            await store.put(make_request(f"{kept}"), Answer(TEXT))
        ballast.unlink()
        await store.put(make_request("after"), Answer(TEXT))
        await store.reopen()
        await store.put(make_request("after a reopening"), Answer(TEXT))
    assert await stored(folder / "store") == kept + 2


async def full_within_a_group(folder: Path) -> None:
    """A group of lines for which there is no room leaves no half of a line behind."""
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder))
    async with ResponseStore(folder / "store") as store:
        puts = (store.put(make_request(f"{number}"), Answer(TEXT)) for number in range(200))
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), StoreUnavailableError}
        assert any(results)
        data = (folder / "store" / "journal.jsonl").read_bytes()
        assert data.endswith(b"\n")
        assert not verify(folder / "store").damaged
    async with ResponseStore(folder / "store", strict=True) as store:
        kept = [each async for each in store.entries()]
        assert len(kept) >= sum(result is None for result in results)


async def full_at_the_start(folder: Path) -> None:
    """There is no room to make a store; reopening works once there is."""
    mount("-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder))
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(b"x" * (free.f_bavail * free.f_bsize))
    store = ResponseStore(folder / "store")
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        await store.open()
    ballast.unlink()
    await store.reopen()
    await store.put(make_request("a"), Answer("x"))
    await store.aclose()
    assert await stored(folder / "store") == 1


async def full_while_mending(folder: Path) -> None:
    """A damaged journal that has no room for its successor stays as it is, and is mended when there is room."""
    mount("-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder))
    journal = folder / "store" / "journal.jsonl"
    async with ResponseStore(folder / "store") as store:
        await asyncio.gather(*(store.put(make_request(f"{number}"), Answer(TEXT)) for number in range(40)))
    with journal.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff" * 40)
    before = journal.read_bytes()
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(b"x" * (free.f_bavail * free.f_bsize - 60_000))
    with pytest.raises(StoreUnavailableError, match="free some space"):
        repair(folder / "store")
    assert journal.read_bytes() == before
    ballast.unlink()
    assert repair(folder / "store").answers == 39
    assert await stored(folder / "store") == 39


async def read_only(folder: Path) -> None:
    """A store on a medium that cannot be written is replayed from, and says what to do when it should record."""
    async with ResponseStore(folder / "store") as store:
        await store.put(make_request("a"), Answer("x"))
    (folder / "store").chmod(0o755)
    mount("--bind", str(folder), str(folder))
    mount("-o", "remount,ro,bind", str(folder))
    with pytest.raises(StoreUnavailableError, match=r"(cannot be opened|cannot be used): Read-only file system"):
        await ResponseStore(folder / "store").open()
    assert await stored(folder / "store") == 1
    unmount(folder)
    async with ResponseStore(folder / "store") as store:
        await store.put(make_request("b"), Answer("x"))
    assert await stored(folder / "store") == 2


async def not_mine(folder: Path) -> None:
    """Files that this user may not write, and later may. Needs root, to be somebody else."""
    place = folder / "store"
    async with ResponseStore(place) as store:
        await store.put(make_request("a"), Answer("x"))
    (place / "store.lock").chmod(0o666)
    place.chmod(0o777)
    (place / "journal.jsonl").chmod(0o444)
    os.seteuid(65534)
    store = ResponseStore(place)
    with pytest.raises(StoreUnavailableError, match=r"(writable for this user|cannot be opened)"):
        await store.open()
    os.seteuid(0)
    await store.reopen()
    await store.put(make_request("b"), Answer("x"))
    await store.aclose()
    assert await stored(place) == 2


_EACH = (full, full_within_a_group, full_at_the_start, full_while_mending, read_only, not_mine)
KINDS = {each.__name__: each for each in _EACH}

if __name__ == "__main__":
    asyncio.run(KINDS[sys.argv[1]](Path(sys.argv[2])))
    print("well")
