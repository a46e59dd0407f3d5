"""``python -m benchmarks [PART…]``: what ours costs, beside a baseline and a limit, in one table.

Each part is a module of this package with ``run() -> list[Row]``. Figures are ratios of one run on one machine; quote
those, and not the milliseconds. The exit status is 1 when a bar is missed.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.table import Row, machine, table

PARTS = (
    "grouped_score",
    "whole_stream",
    "million_pictures",
    "build_time",
    "text_tower",
    "picture_pipeline",
    "start",
    "serve_throughput",
    "serve_bodies",
)
"""In the order of the table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all, and print their table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all when left out")
    chosen = parser.parse_args(arguments).part or PARTS
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    rows: list[Row] = []
    for part in chosen:
        print(f"{part} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"benchmarks.{part}").run()
    print(table(rows))
    print(f"\n{machine()}; commit {_commit()}")
    return 1 if any(row.met is False for row in rows) else 0


def _commit() -> str:
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
