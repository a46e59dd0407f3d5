"""``python -m benchmarks.reliability [BAR ...]``: every bar of dispatch, or those named by number."""

import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.reliability import faults, fuzz, kills, latency, outage, processes, rate, replay, saves
from benchmarks.reliability.harness import Report

BARS: dict[str, Callable[[], Iterator[Report]]] = {
    "1": lambda: iter([faults.run()]),
    "2": lambda: iter([kills.run()]),
    "3": lambda: iter([processes.run()]),
    "4": lambda: iter([latency.run()]),
    "5": lambda: (rate.run(wish=wish) for wish in (None, 1.0)),
    "6": lambda: iter([fuzz.run()]),
    "7": lambda: iter([replay.run()]),
    "8": lambda: iter([saves.run()]),
    "9": lambda: (outage.run(away) for away in outage.AWAY),
}


def main(chosen: list[str]) -> int:
    """Run the bars, print each as it ends, and return how many figures missed theirs."""
    unmet = 0
    for number in chosen or list(BARS):
        began = time.perf_counter()
        for report in BARS[number]():
            print(report)
            print(f"- ({time.perf_counter() - began:.0f} s)\n", flush=True)
            unmet += len(report.unmet)
    print(f"{unmet} figures missed their bar" if unmet else "every bar is met")
    return unmet


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
