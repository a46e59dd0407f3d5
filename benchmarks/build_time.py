"""The pictures stage of a build on features alone: what a picture costs in a short and in a long history.

Processor time, because other programs on the same cores lengthen a long run more than a short one.
"""

import asyncio
import re
import statistics
import tempfile
import time
from pathlib import Path

from torch import Tensor

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.learning.run_observer import FirstLook, RunObserver
from benchmarks.random_world import TEMPERATURE, RandomWorld, look_alikes
from benchmarks.table import Row

FEW, MANY = 20_000, 200_000
CLASSES, WORDS, DIM = 100, 1000, 64
ROUNDS = 5


def run() -> list[Row]:
    """Measure; short and long builds take turns, and medians are compared."""
    world = RandomWorld.of(CLASSES, WORDS, DIM)
    features = world.pictures(MANY)
    with tempfile.TemporaryDirectory(prefix="ants-benchmark-") as folder:
        words = Path(folder) / "words.txt"
        words.write_text("\n".join(f"word {number}\tnoun" for number in range(WORDS)), encoding="utf-8")
        short, long = [], []
        for _ in range(ROUNDS):
            short.append(_seconds(world, features[:FEW], words) / FEW)
            long.append(_seconds(world, features, words) / MANY)
    few, many = (statistics.median(seconds) * 1e6 for seconds in (short, long))
    what = f"build on {MANY:,} features, pictures stage, {CLASSES} + {WORDS:,}, D = {DIM}, against {FEW:,}"
    return [Row(what, "µs of processor time a picture", many, limit=few, at_most=1.2)]


class _Clock(RunObserver):
    """Takes the time of the stage."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def looked(self, look: FirstLook) -> None:
        """Take the time of a batch."""
        self.times.append(time.process_time())


def _seconds(world: RandomWorld, features: Tensor, words: Path) -> float:
    """Return the seconds from the first batch to the last."""
    clock = _Clock()
    encoder = GivenEncoder(world.encode, DIM, logit_scale=1 / TEMPERATURE)
    built = ANTS.build(
        world.names,
        features=features,
        encoder=encoder,
        backend=ScriptedBackend.from_callable(lambda call: look_alikes(re.findall(r"class\d+", call.prompt)[-1])),
        lexicon={"source": str(words)},
        dispatch={"mode": "live", "runs": None},
        progress={"bar": "off"},
        observers=[clock],
    )
    asyncio.run(built)
    return clock.times[-1] - clock.times[0]
