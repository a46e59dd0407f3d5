"""One row per thing that is measured, and the table that `python -m benchmarks` prints of them."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("what", "unit", "ours", "baseline", "limit", "× baseline", "× limit", "bar", "met")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: ours, what it is held against in the same run, and the bar that was set beforehand."""

    what: str
    unit: str
    """Of the three figures, such as ``ms a batch`` or ``pictures/s``."""
    ours: float
    baseline: float | None = None
    """The same work done the literal way, or by a peer."""
    limit: float | None = None
    """What cannot be beaten: the bare matrix product, the bare encoder, the first batches."""
    more_is_better: bool = False
    """True for throughput, False for time and memory."""
    at_least: float | None = None
    """The bar: how many times better than the baseline."""
    at_most: float | None = None
    """The bar: how much worse than the limit; 1.25 is a quarter worse."""
    limit_is_difference: bool = False
    """``at_most`` bounds ours − limit, in the row's own unit, and not their quotient."""

    @property
    def gain(self) -> float | None:
        """How many times better than the baseline; None without one."""
        if self.baseline is None:
            return None
        return self.ours / self.baseline if self.more_is_better else self.baseline / self.ours

    @property
    def excess(self) -> float | None:
        """How many times worse than the limit, or by how much; None without one."""
        if self.limit is None:
            return None
        if self.limit_is_difference:
            return self.limit - self.ours if self.more_is_better else self.ours - self.limit
        return self.limit / self.ours if self.more_is_better else self.ours / self.limit

    @property
    def bar(self) -> str:
        """The bar in words; empty where none was set."""
        parts = [] if self.at_least is None else [f"≥ {self.at_least:g} × baseline"]
        if self.at_most is not None:
            parts.append(f"≤ limit + {self.at_most:g}" if self.limit_is_difference else f"≤ {self.at_most:g} × limit")
        return ", ".join(parts)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none to meet."""
        held = []
        if self.at_least is not None and self.gain is not None:
            held.append(self.gain >= self.at_least)
        if self.at_most is not None and self.excess is not None:
            held.append(self.excess <= self.at_most)
        return all(held) if held else None


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, ready for ``docs/performance.md``."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS)]
    lines += [_cells(row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Say on what it was measured: processor, cores that may be used, threads, versions."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads; {torch.backends.cpu.get_cpu_capability()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "NO"}[row.met]
    excess = _figure(row.excess)
    if row.limit_is_difference and row.excess is not None:
        excess = f"{row.excess:+.3g}"
    figures = (_figure(row.ours), _figure(row.baseline), _figure(row.limit), _figure(row.gain), excess)
    return (row.what, row.unit, *figures, row.bar, met)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
