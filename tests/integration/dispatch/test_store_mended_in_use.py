"""A journal that is written anew while other processes write to it: nothing that was kept is lost."""

import asyncio
import sys
from pathlib import Path

from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.dispatch.storage.upkeep import verify
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

WRITERS, COUNT, TIMES = 3, 400, 4

WRITER = """
import asyncio, sys
from pathlib import Path
from ants_engine.dispatch.storage.store import ResponseStore
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request

async def main(folder, name, count):
    async with ResponseStore(Path(folder)) as store:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async def put(first):
            for number in range(first, count, 4):
                request = make_request(f"{name} {number}")
                await store.put(request, Answer("x" * 300))
                # What was kept is found, whoever has replaced the journal meanwhile.
                assert await store.get(request.key) is not None
        await asyncio.gather(*(put(first) for first in range(4)))
    print("done", flush=True)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_it_is_replaced_under_those_who_write(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "store", asyncio.subprocess.PIPE
    writers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(folder), f"writer {number}", str(COUNT)),
            stdin=pipe, stdout=pipe, stderr=pipe,
        )
        for number in range(WRITERS)
    ]  # fmt: skip
    async with asyncio.timeout(90):
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdin is not None
            assert await writer.stdout.readline() == b"ready\n"
            writer.stdin.write(b"\n")
        async with ResponseStore(folder) as store:
            await store.put(make_request("mine"), Answer("x"))
            for number in range(TIMES):
                await asyncio.sleep(0.05)
                await store.put(make_request(f"going {number}"), Answer("x"))
                assert await store.remove([make_request(f"going {number}").key]) == 1
        for writer in writers:
            out, err = await writer.communicate()
            assert out == b"done\n", err.decode()
    found = verify(folder)
    assert not found.damaged
    assert found.answers == WRITERS * COUNT + 1
