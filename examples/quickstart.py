"""Build a detector from class names and unlabelled pictures, score new ones, and ask why.

python examples/quickstart.py                                   # the embedded world: offline, no key, no GPU
python examples/quickstart.py --config ants.toml --classes husky,beagle,pug my_pictures/ new_pictures/
"""

import argparse
import asyncio

from ants_engine import ANTS

WORLD = "examples/emoji_world/pictures/images"


async def main() -> None:
    """Build, score, explain, save."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("learn", nargs="?", default=f"{WORLD}/*/*/00.jpg", help="pictures to learn from")
    arguments.add_argument("score", nargs="?", default=f"{WORLD}/*/*/05.jpg", help="pictures to score")
    arguments.add_argument("--classes", default="lion,elephant,panda,zebra,banana,strawberry,guitar,violin,bus,tractor")
    arguments.add_argument("--config", default="examples/emoji_world", help="an ants.toml, or the folder of one")
    given = arguments.parse_args()

    ants = await ANTS.build(given.classes.split(","), given.learn, config=given.config)
    print(ants.report)

    scores = await ants.score(given.score)
    print(f"{scores.is_outlier.sum()} of {len(scores)} are unknown (threshold {ants.threshold:.3f})")
    lowest = scores.id_score.argmin()
    print(await asyncio.to_thread(ants.explain, scores.names[lowest]))

    ants.save("detector/")


asyncio.run(main())
