"""Faults of the disk under a store: typed errors that say what to do, and the same store goes on afterwards."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.errors import StoreUnavailableError
from ants_engine.protocol import Answer
from tests.integration.dispatch.faulty_disk import KINDS, stored
from tests.unit.dispatch.fakes import make_request

UNSHARE = ["unshare", "--map-root-user", "--mount"]


def mounts_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        trial = [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", folder]
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_with_a_fault(kind: str) -> None:
    if kind == "not_mine":
        if os.name != "posix" or os.geteuid() != 0:
            pytest.skip("only root can be another user for a while")
        space: list[str] = []
    else:
        if not mounts_work():
            pytest.skip("no user namespace here, to mount a small or a read-only file system in")
        space = UNSHARE
    with tempfile.TemporaryDirectory() as place:
        # Another user has to get there.
        Path(place).chmod(0o755)
        command = [*space, sys.executable, "-m", "tests.integration.dispatch.faulty_disk", kind, place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1:] == ["well"], done.stderr


def test_a_limit_on_the_size_of_files_is_a_full_disk_too(tmp_path: Path) -> None:
    child = """if True:
        import asyncio, resource, signal, sys
        from pathlib import Path
        from ants_engine.dispatch.storage.store import ResponseStore
        from ants_engine.errors import StoreUnavailableError
        from ants_engine.protocol import Answer
        from tests.unit.dispatch.fakes import make_request

        async def main():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            kept = 0
            async with ResponseStore(Path(sys.argv[1])) as store:
                resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
                try:
                    while True:
                        await store.put(make_request(str(kept)), Answer("x" * 3000))
                        kept += 1
                except StoreUnavailableError as error:
                    assert "see to the folder" in str(error) or "free some space" in str(error), error
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
                await store.put(make_request("after"), Answer("x"))
            print(kept)
        asyncio.run(main())
    """
    command = [sys.executable, "-c", child, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert asyncio.run(stored(tmp_path / "store")) == int(done.stdout) + 1


async def test_a_folder_deleted_under_way_comes_back_by_reopening_and_nothing_that_waits_is_lost(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    async with ResponseStore(folder) as store:
        await store.put(make_request("a"), Answer("x"))
        shutil.rmtree(folder)
        with pytest.raises(StoreUnavailableError, match=r"No such file.*put the folder back, or run again"):
            await store.put(make_request("b"), Answer("x"))
        assert not folder.exists()
        results = await asyncio.gather(
            store.reopen(),
            *(store.put(make_request(f"{number}"), Answer("x")) for number in range(40)),
            *(store.get(make_request(f"{number}").key) for number in range(40)),
            store.reopen(),
            *(store.put(make_request(f"more {number}"), Answer("x")) for number in range(40)),
            return_exceptions=True,
        )
        assert not [each for each in results if isinstance(each, BaseException)]
        await store.put(make_request("b"), Answer("x"))
    assert await stored(folder) == 81


async def test_a_folder_that_cannot_be_made_anew_is_told_each_time_and_reopened_later(tmp_path: Path) -> None:
    folder = tmp_path / "disk" / "store"
    async with ResponseStore(folder) as store:
        shutil.rmtree(tmp_path / "disk")
        (tmp_path / "disk").write_text("in the way")
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="cannot be opened"):
                await store.reopen()
            with pytest.raises(StoreUnavailableError, match="not open"):
                await store.put(make_request("a"), Answer("x"))
        (tmp_path / "disk").unlink()
        await store.reopen()
        await store.put(make_request("a"), Answer("x"))
    assert await stored(folder) == 1


async def test_a_folder_replaced_under_way_is_opened_anew(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with ResponseStore(folder) as store:
        await store.put(make_request("a"), Answer("x"))
        folder.rename(tmp_path / "old")
        async with ResponseStore(folder) as other:
            await other.put(make_request("of another"), Answer("x"))
        await store.put(make_request("b"), Answer("x"))
        assert await store.get(make_request("of another").key) is not None
        assert await store.get(make_request("a").key) is None
    assert await stored(folder) == 2
    assert await stored(tmp_path / "old") == 1


async def test_in_replay_a_folder_replaced_under_way_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with ResponseStore(folder) as store:
        await store.put(make_request("a"), Answer("x"))
    async with ResponseStore(folder, strict=True) as store:
        folder.rename(tmp_path / "old")
        async with ResponseStore(folder) as other:
            await other.put(make_request("b"), Answer("x"))
        with pytest.raises(StoreUnavailableError, match="was replaced while it was open; run again"):
            await store.get(make_request("a").key)
    assert await stored(folder) == 1
