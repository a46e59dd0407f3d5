"""Timing of things that are compared: in turn, in one run, the median of several."""

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 7


def medians(calls: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, warm: int = 2) -> dict[str, float]:
    """Return each call's median time in seconds.

    They take turns, so that a busy machine slows all of them, and each is called ``warm`` times before it counts.

    Args:
        calls: name → what is timed.
        rounds: how often each is timed, at least 5.
        warm: untimed calls of each.

    Raises:
        ValueError: fewer than 5 rounds.
    """
    if rounds < 5:
        raise ValueError(f"a median of {rounds} says little; at least 5 are needed")
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm + rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn >= warm:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}
