"""Passes over seeds become rows of a table: mean and standard deviation per method, OOD set and prevalence."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ants_engine.datasets.benchmark import Group
from ants_engine.evaluation.runner import PassResult
from ants_engine.method.metrics import COLUMNS, FprConvention


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of some values."""

    mean: float
    deviation: float | None
    """The sample's (n - 1); ``None`` for a single value."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Describe values, at least one.

        Raises:
            ValueError: there is none.
        """
        if not values:
            raise ValueError("no value to describe")
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        """Write it with two decimals: ``12.34``, or ``12.34 ± 0.56``."""
        return f"{self.mean:.2f}" if self.deviation is None else f"{self.mean:.2f} ± {self.deviation:.2f}"


# ---- rows of the table -----------------------------------------------------------------------------------------------


MEANS: dict[Group, str] = {"near": "nearood", "far": "farood"}
"""OpenOOD's names for the mean over a group's sets."""
_ORDER: tuple[Group, ...] = ("near", "far", "other")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One method on one OOD set, or on the mean of a group, at one prevalence."""

    method: str
    dataset: str
    """The OOD set, or ``nearood`` or ``farood``."""
    group: Group
    sets: int
    """How many OOD sets it is the mean of; 1 for one set itself."""
    is_mean: bool
    prevalence: float | None
    convention: FprConvention
    ids: int | None
    """ID pictures in a stream; ``None`` for a mean."""
    oods: int | None
    values: Mapping[str, Spread | None] | None
    """By OpenOOD's columns, in percent; ACC is ``None`` without labels. ``None`` where a pass has failed: a mean over
    the others would be another number than its name says."""
    failed: int
    """Passes without a number."""
    degraded: int
    """Passes whose numbers are not the method's, because too many requests failed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values."""
        values = None
        if self.values is not None:
            values = {
                column: None if spread is None else {"mean": spread.mean, "std": spread.deviation}
                for column, spread in self.values.items()
            }
        return {
            "method": self.method,
            "dataset": self.dataset,
            "group": self.group,
            "prevalence": self.prevalence,
            "fpr95_convention": self.convention,
            "id_pictures": self.ids,
            "ood_pictures": self.oods,
            "percent": values,
            "failed_passes": self.failed,
            "degraded_passes": self.degraded,
        }


def summarise(results: Iterable[PassResult], conventions: Sequence[FprConvention]) -> list[SummaryRow]:
    """Put passes together.

    Returns:
        Rows by prevalence, then convention, then dataset in OpenOOD's order (near sets, ``nearood``, far sets,
        ``farood``; sets of no group last), then method, each in the order of the passes.
    """
    found = list(results)
    prevalences = list(dict.fromkeys(one.key.prevalence for one in found))
    methods = list(dict.fromkeys(one.key.method for one in found))
    rows: list[SummaryRow] = []
    for prevalence in prevalences:
        mine = [one for one in found if one.key.prevalence == prevalence]
        for convention in conventions:
            for group in _ORDER:
                in_group = [one for one in mine if one.group == group]
                for name in dict.fromkeys(one.key.ood_set for one in in_group):
                    of_set = [one for one in in_group if one.key.ood_set == name]
                    rows += [_row(method, name, of_set, convention, is_mean=False) for method in methods]
                if in_group and group in MEANS:
                    rows += [_row(method, MEANS[group], in_group, convention, is_mean=True) for method in methods]
    return rows


def _row(
    method: str, dataset: str, passes: list[PassResult], convention: FprConvention, *, is_mean: bool
) -> SummaryRow:
    own = [one for one in passes if one.key.method == method]
    first = own[0]
    failed = sum(one.metrics is None for one in own)
    return SummaryRow(
        method=method,
        dataset=dataset,
        group=first.group,
        sets=len({one.key.ood_set for one in own}),
        is_mean=is_mean,
        prevalence=first.key.prevalence,
        convention=convention,
        ids=None if is_mean else first.ids,
        oods=None if is_mean else first.oods,
        values=None if failed else {column: _over_seeds(own, convention, column) for column in COLUMNS},
        failed=failed,
        degraded=sum(one.degraded for one in own),
    )


def _over_seeds(passes: list[PassResult], convention: FprConvention, column: str) -> Spread | None:
    """Average over the sets at each seed, then describe the seeds."""
    by_seed: dict[int, list[float]] = {}
    for one in passes:
        value = None if one.metrics is None else one.metrics[convention].percent(None)[column]
        if value is None:
            return None
        by_seed.setdefault(one.key.seed, []).append(value)
    return Spread.of([sum(values) / len(values) for values in by_seed.values()])
