"""What the parts of ``python -m benchmarks.verdicts`` share: what they are given, what they find, what they print."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.metrics import auroc, fpr95
from benchmarks.verdicts.worlds import Sources

PREVALENCES = (0.5, 0.2, 0.05, 0.01)


@dataclass(frozen=True)
class Given:
    """What every part is given."""

    found: Sources
    seeds: int
    """Streams per set and prevalence, seeds 0 to this - 1."""
    far: Mapping[str, Path] = field(default_factory=dict)
    """Further far-OOD sets: name → file."""


@dataclass
class Report:
    """One bar's figures, and which of them missed it."""

    title: str
    blocks: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a table or a paragraph."""
        self.blocks.append(text)

    def bar(self, what: str, value: float, limit: float, *, at_least: bool = False) -> None:
        """Add a figure that has a limit; both in the same unit."""
        met = value >= limit if at_least else value <= limit
        self.blocks.append(
            f"- {what}: {value:.2f} (bar {'≥' if at_least else '≤'} {limit:g}) {'met' if met else 'MISSED'}"
        )
        if not met:
            self.unmet.append(what)

    def __str__(self) -> str:
        """Return everything as Markdown."""
        text = "\n\n".join([f"## {self.title}", *self.blocks])
        return text.replace("met\n\n- ", "met\n- ").replace("MISSED\n\n- ", "MISSED\n- ")


@dataclass(frozen=True)
class Figures:
    """Means in %."""

    auroc: float
    fpr95: float
    """Convention ``openood``."""
    fpr95_id: float
    """Convention ``id_positive``."""

    def __str__(self) -> str:
        """Return AUROC and FPR95."""
        return f"{self.auroc:.2f} / {self.fpr95:.2f}"


class Ranking:
    """How well rules rank: AUROC and FPR95 by rule, prevalence, set and seed."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._found: dict[tuple[str, float, str], list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, rule: str, prevalence: float, world: str, log_odds: Tensor, is_id: Tensor) -> None:
        """Take the scores (N,) of one stream, higher = more ID, with the truth (N,)."""
        known, unknown = _float64(log_odds[is_id]), _float64(log_odds[~is_id])
        self._found[rule, prevalence, world].append(
            (
                auroc(known, unknown),
                fpr95(known, unknown, convention="openood"),
                fpr95(known, unknown, convention="id_positive"),
            )
        )

    @property
    def rules(self) -> list[str]:
        """Return the rules, in the order in which they came."""
        return list(dict.fromkeys(rule for rule, _, _ in self._found))

    @property
    def prevalences(self) -> list[float]:
        """Return the prevalences, likewise."""
        return list(dict.fromkeys(prevalence for _, prevalence, _ in self._found))

    @property
    def worlds(self) -> list[str]:
        """Return the sets, likewise."""
        return list(dict.fromkeys(world for _, _, world in self._found))

    def mean(self, rule: str, prevalence: float | None = None, world: str | None = None) -> Figures:
        """Return the means over seeds, then sets and prevalences, as far as these are not given."""
        values = [
            np.mean(found, axis=0)
            for (own, share, name), found in self._found.items()
            if own == rule and prevalence in (None, share) and world in (None, name)
        ]
        return Figures(*(100.0 * np.mean(values, axis=0)).tolist())

    def spread(self, rule: str, prevalence: float | None = None) -> Figures:
        """Return the standard deviation over the seeds of the mean over sets and prevalences."""
        values = [
            found for (own, share, _), found in self._found.items() if own == rule and prevalence in (None, share)
        ]
        return Figures(*(100.0 * np.std(np.mean(values, axis=0), axis=0, ddof=min(1, len(values[0]) - 1))).tolist())

    def by_prevalence(self) -> str:
        """Return a Markdown table: a rule a line, a prevalence a column."""
        heads = [f"{100 * prevalence:g} %" for prevalence in self.prevalences]
        lines = []
        for rule in self.rules:
            whole, spread = self.mean(rule), self.spread(rule)
            cells = [str(self.mean(rule, prevalence)) for prevalence in self.prevalences]
            mean = f"**{whole}** (±{spread.auroc:.2f} / {spread.fpr95:.2f})"
            lines.append([rule, *cells, mean, f"{whole.fpr95_id:.2f}"])
        return markdown(["AUROC / FPR95", *heads, "mean (± over seeds)", "FPR95 `id_positive`"], lines)

    def by_world(self) -> str:
        """Return a Markdown table: a set a line, a rule a column, means over the prevalences."""
        lines = [
            [world.replace("|", " → "), *(str(self.mean(rule, world=world)) for rule in self.rules)]
            for world in self.worlds
        ]
        return markdown(["set", *self.rules], lines)


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines))


Part = Callable[[Given], Report]
"""One bar: ``run(given)``."""


def _float64(scores: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = scores.double().numpy()
    return found
