"""Score pictures as they are put into a folder, and adapt to them; stop with a file named STOP, or Ctrl-C.

python examples/watch_folder.py arriving/ detector/
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from ants_engine import ANTS

CLASSES = ["lion", "elephant", "panda", "zebra", "banana"]


class Watched:
    """A folder, and what of it has been given."""

    def __init__(self, folder: Path) -> None:
        """Begin with everything that lies there already."""
        self.folder = folder
        self.sizes: dict[Path, int] = {}
        self.given: set[Path] = set()

    def look(self) -> tuple[list[Path], bool]:
        """Return pictures whose size has stood still since the last look, and whether these were the last."""
        stopped = (self.folder / "STOP").exists()
        found = {file: file.stat().st_size for file in sorted(self.folder.glob("*.jpg")) if file not in self.given}
        ready = [file for file, size in found.items() if size and self.sizes.get(file) == size]
        self.given.update(ready)
        self.sizes = found
        return ready, stopped and len(ready) == len(found)


async def arriving(folder: Path, pause: float = 0.2) -> AsyncIterator[Path]:
    """Give each picture once, when it is whole."""
    watched, last = Watched(folder), False
    while not last:
        # a disk can be slow: not on the event loop
        ready, last = await asyncio.to_thread(watched.look)
        for file in ready:
            yield file
        if not last:
            await asyncio.sleep(pause)


async def main(folder: Path, detector: Path) -> None:
    """Stream the folder through a detector that knows no picture yet; save it after every batch."""
    ants = await ANTS.build(CLASSES, config="examples/emoji_world")
    # lag=1: a batch does not wait for the MLLM's answers about itself
    async for scores in ants.stream(arriving(folder), batch_size=16, lag=1):
        now = scores.adaptation
        print(
            f"batch {now.batch}: {scores.is_outlier.sum()} of {len(scores)} unknown, {now.ens_texts} sentences",
            flush=True,
        )
        for one in scores:
            if one.is_outlier:
                print(f"  {one.name}  {one.id_score:.3f}")
        # goes on to the same bits after ANTS.load, from the picture that scores.adaptation.pictures counts
        ants.save(detector)


asyncio.run(main(*map(Path, sys.argv[1:3])))
