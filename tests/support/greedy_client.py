"""Asks a server for more than can be held, and prints by how many bytes this process has grown. Run as a program."""

import asyncio
import resource
import sys

from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from ants_engine.errors import BackendError
from tests.support.pictures import call


def peak() -> int:
    """Give the most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(base_url: str, kind: str) -> None:
    """Ask four questions of a kind at once, and four after."""
    backend = OpenAIBackend(OpenAIOptions(model="tiny", base_url=base_url))
    await backend.generate(call("right"))
    before = peak()
    for turn in range(2):
        asked = (backend.generate(call(f"{kind} {turn} {n}")) for n in range(4))
        for ending in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(ending, BackendError), type(ending)
            print(type(ending).__name__)
    await backend.aclose()
    print("grown by", peak() - before)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
