"""How long it takes until something happens: importing the package, and `ants --help`."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.table import Row, machine, table

ROUNDS = 15
IMPORT_MS, HELP_MS = 100.0, 400.0
CALLS = {
    "nothing": ("-c", "pass"),
    "import": ("-c", "import ants_engine"),
    "help": ("-c", "import sys; sys.argv = ['ants', '--help']; from ants_engine.cli import main; sys.exit(main())"),
}
"""Arguments of the interpreter."""


def run(rounds: int = ROUNDS) -> list[Row]:
    """Time child processes in turn; what the interpreter itself takes is the limit."""
    taken: dict[str, list[float]] = {name: [] for name in CALLS}
    for turn in range(rounds + 1):
        for name, arguments in CALLS.items():
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1]
            )
            # the first one fills the disk cache
            if turn:
                taken[name].append(1000 * (time.perf_counter() - started))
    bare, imported, helped = (median(taken[name]) for name in ("nothing", "import", "help"))
    return [
        Row(
            "start, `import ants_engine`; limit: `python -c pass`",
            "ms",
            imported,
            limit=bare,
            at_most=IMPORT_MS,
            limit_is_difference=True,
        ),
        Row(
            f"start, `ants --help` ({helped / bare:.1f} × `python -c pass`)",
            "ms",
            helped,
            limit=HELP_MS,
            at_most=1.0,
        ),
    ]


if __name__ == "__main__":
    print(table(run()))
    print(f"\n{machine()}")
