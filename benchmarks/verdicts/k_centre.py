"""Bar 7: farthest point first over many candidates, beside the matrix products that the greedy rule needs.

The rule as it is written compares every candidate with every pick: one product of (50,000, 512) with (512, 10,000). Two
things are held against ours: that product in one pass of blocks, which nobody can use, for the picks are not known
before it; and one matrix-vector product per pick, which is how the rule is usually computed.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ants_engine.method.spread import farthest_first
from benchmarks.memory import peak_mb, resident_mb
from benchmarks.table import Row, machine, table
from benchmarks.verdicts.bars import Given, Report

CANDIDATES, PICKS, DIM = 50_000, 10_000, 512
FEW = 200
"""Picks that the literal way is timed over."""
ROUNDS = 3


def run(given: Given) -> Report:
    """Measure every kind of candidates; each measurement has a process of its own, so that its memory can be told."""
    report = Report(f"Bar 7: farthest point first, {CANDIDATES:,} candidates, {PICKS:,} picks, D = {DIM}")
    rows = []
    for kind in KINDS:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                found[way].append(_in_process(kind, way))
        took = {way: min(one["seconds"] for one in measured) for way, measured in found.items()}
        busy = {way: min(one["cpu"] for one in measured) for way, measured in found.items()}
        held = {way: min(one["held"] for one in measured) for way, measured in found.items()}
        literal = took["literal"] * PICKS / FEW
        rows += [
            Row(f"{kind}: wall time", "s", took["ours"], baseline=literal, limit=took["product"], at_most=1.5),
            Row(f"{kind}: time of all cores", "s", busy["ours"], limit=busy["product"], at_most=1.5),
            Row(f"{kind}: memory, features included", "MB", held["ours"], limit=held["product"], at_most=1.5),
        ]
    report.say(
        f"Ours, beside one matrix-vector product per pick (baseline, timed over {FEW} picks), and the product of all "
        f"candidates with all picks in blocks (limit); the best of {ROUNDS}. {machine()}."
    )
    report.say(table(rows))
    report.unmet += [row.what for row in rows if row.met is False]
    return report


def independent() -> Tensor:
    """Return candidates that lie far from each other, every one about as far as the others: the hardest case."""
    return _unit(torch.randn(CANDIDATES, DIM))


def clustered() -> Tensor:
    """Return candidates of 500 kinds."""
    kinds = _unit(torch.randn(500, DIM))
    return _unit(kinds[torch.randint(len(kinds), (CANDIDATES,))] + 0.7 * independent())


def coned() -> Tensor:
    """Return candidates with some 24 directions that matter and a common mean, as CLIP's features have."""
    few = _unit(torch.randn(CANDIDATES, 24)) @ torch.randn(24, DIM) / 24**0.5
    return _unit(few + 0.02 * torch.randn(CANDIDATES, DIM) + 0.15)


def _ours(features: Tensor) -> None:
    farthest_first(features, PICKS)


def _product(features: Tensor) -> None:
    """Multiply all candidates with so many picks; any will do."""
    picks = features[:PICKS].clone()
    nearest = torch.empty(len(features))
    for start in range(0, len(features), 256):
        for column in range(0, len(picks), 2048):
            cosines = features[start : start + 256] @ picks[column : column + 2048].T
            torch.amax(cosines, dim=1, out=nearest[start : start + 256])


def _literal(features: Tensor) -> None:
    nearness = torch.full((len(features),), -torch.inf)
    for _ in range(FEW):
        row = int(nearness.argmin())
        torch.maximum(nearness, features @ features[row], out=nearness)
        nearness[row] = torch.inf


KINDS: dict[str, Callable[[], Tensor]] = {"independent": independent, "clustered": clustered, "coned": coned}
WAYS: dict[str, Callable[[Tensor], None]] = {"ours": _ours, "product": _product, "literal": _literal}


def _in_process(kind: str, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.verdicts.k_centre", kind, way]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(said)
    return found


def _measure(kind: str, way: str) -> None:
    """Print what one way takes, as JSON: seconds, seconds of all cores, and the MB that it held beside Python's own."""
    torch.manual_seed(0)
    features = KINDS[kind]()
    # so much is held before; the making of the features has had its own peak
    size = features.numel() * 4 / 1e6
    before = resident_mb() - size
    _reset_peak()
    cpu, wall = time.process_time(), time.perf_counter()
    WAYS[way](features)
    took = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "held": peak_mb() - before}
    print(json.dumps(took))


def _reset_peak() -> None:
    """Let the largest resident set begin anew (Linux)."""
    with open("/proc/self/clear_refs", "w") as control:  # noqa: PTH123
        control.write("5")


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


if __name__ == "__main__":
    _measure(*sys.argv[1:])
