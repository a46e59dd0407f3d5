"""Record answers, share them as a cassette, and get the same detector without a model, a key or a network.

python examples/replay.py run.jsonl
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from ants_engine import ANTS

CLASSES = ["lion", "elephant", "panda", "zebra", "banana"]
PICTURES = "examples/emoji_world/pictures/images/far/*/00.jpg"
CONFIG = "examples/emoji_world"


def ants_store(verb: str, cassette: str, store: str) -> None:
    """Run ``ants store export`` or ``import``."""
    subprocess.run(["ants", "store", verb, cassette, "--set", f"dispatch.store={store}"], check=True)


async def main(cassette: str) -> None:
    """Record into one store, carry the answers into another, and compare."""
    recorded = await ANTS.build(CLASSES, PICTURES, config=CONFIG, dispatch={"store": "recorded"})
    ants_store("export", cassette, "recorded")

    # on another day, or another person's machine
    ants_store("import", cassette, "received")
    replayed = await ANTS.build(CLASSES, PICTURES, config=CONFIG, dispatch={"store": "received", "mode": "replay"})
    print(f"{replayed.report.asked} asked, {replayed.report.from_store} replayed")

    pictures = "examples/emoji_world/pictures/images/far/*/05.jpg"
    first, again = await recorded.score(pictures), await replayed.score(pictures)
    print("the same bits:", first.id_score.tobytes() == again.id_score.tobytes())


Path(sys.argv[1]).unlink(missing_ok=True)
asyncio.run(main(sys.argv[1]))
