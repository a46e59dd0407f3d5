"""``python -m benchmarks.verdicts [BAR …]``: every bar of the verdicts, or those named by number.

Figures are of stored ViT-B/32 features, with an MLLM and a judge simulated on them. The exit status is 1 when a bar is
missed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.verdicts import face, k_centre, ranking, thresholds
from benchmarks.verdicts.bars import Given, Part
from benchmarks.verdicts.worlds import sources

BARS: dict[str, Part] = {
    "1": ranking.pool,
    "2": thresholds.judge,
    "3": face.run,
    "4": thresholds.calibrate,
    "6": ranking.questions,
    "7": k_centre.run,
    "8": ranking.further,
    "unseen": ranking.unseen,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bars that are named, or all, and print each as it ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("bar", nargs="*", help=f"of {', '.join(BARS)}; all when left out")
    parser.add_argument("--seeds", type=int, default=5, help="streams per set and prevalence")
    parser.add_argument("--food", type=Path, metavar="FILE", help="pictures in place of the Food-101 ones, same keys")
    parser.add_argument(
        "--far", action="append", default=[], metavar="NAME=FILE", help="another far-OOD set with `image_features`"
    )
    given = parser.parse_args(arguments)
    chosen = given.bar or list(BARS)
    unknown = [bar for bar in chosen if bar not in BARS]
    if unknown:
        parser.error(f"no bar {', '.join(unknown)}; there are: {', '.join(BARS)}")
    far = dict(one.partition("=")[::2] for one in given.far)
    absent = [file for file in (*far.values(), *([given.food] if given.food else [])) if not Path(file).is_file()]
    if absent:
        parser.error(f"no file {', '.join(map(str, absent))}; --far takes NAME=FILE, --food a file")
    found = sources(food=given.food)
    if found is None:
        print("skipped: the stored features are not beside the project (../shared/data/clip_vitb32)", file=sys.stderr)
        return 0
    unmet = 0
    for bar in chosen:
        began = time.perf_counter()
        report = BARS[bar](Given(found, given.seeds, {name: Path(file) for name, file in far.items()}))
        print(f"{report}\n\n({time.perf_counter() - began:.0f} s)\n", flush=True)
        unmet += len(report.unmet)
    print(f"{unmet} figures missed their bar" if unmet else "every bar is met")
    return 1 if unmet else 0


if __name__ == "__main__":
    sys.exit(main())
