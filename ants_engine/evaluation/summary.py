"""From passes to table rows: mean and standard deviation over seeds, per method, OOD set and prevalence."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ants_engine.datasets.benchmark import Group
from ants_engine.evaluation.method import PassResult
from ants_engine.method.metrics import COLUMNS, FprConvention


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of some values."""

    mean: float
    deviation: float | None
    """The sample's (n - 1); ``None`` for a single value."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Compute both of at least one value.

        Raises:
            ValueError: there is none.
        """
        if not values:
            raise ValueError("no value to describe")
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        """Write it with two decimals: ``12.34``, or ``12.34 ± 0.56``."""
        return f"{self.mean:.2f}" if self.deviation is None else f"{self.mean:.2f} ± {self.deviation:.2f}"


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
    """Number of OOD sets averaged; 1 for a single set."""
    is_mean: bool
    prevalence: float | None
    convention: FprConvention
    ids: int | None
    """ID pictures in a stream; ``None`` for a mean."""
    oods: int | None
    values: Mapping[str, Spread | None] | None
    """By OpenOOD's columns, in percent; ACC is None without labels. None as a whole where a pass has failed: a mean
    over the others would be misleading."""
    failed: int
    """Passes without metrics."""
    degraded: int
    """Passes in which too many requests failed, so that the numbers are not the method's."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
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
    """Aggregate passes.

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
    """Average over the sets at each seed, then over the seeds."""
    by_seed: dict[int, list[float]] = {}
    for one in passes:
        value = None if one.metrics is None else one.metrics[convention].percent(None)[column]
        if value is None:
            return None
        by_seed.setdefault(one.key.seed, []).append(value)
    return Spread.of([sum(values) / len(values) for values in by_seed.values()])
