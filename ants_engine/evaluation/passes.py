"""One pass of one method over one stream, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ants_engine.datasets.ood_groups import Group
from ants_engine.evaluation.method import MethodFacts
from ants_engine.method.metrics import FprConvention, Metrics


@dataclass(frozen=True, slots=True)
class PassKey:
    """Which pass."""

    method: str
    ood_set: str
    seed: int
    prevalence: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PassScores:
    """What a score file holds, unreadable pictures included, in the stream's order."""

    pred: NDArray[np.int64]
    """(N,): predicted ID class; -1 for an unreadable picture."""
    conf: NDArray[np.float64]
    """(N,): higher means more ID; an unreadable picture lies 1 below the lowest of the others."""
    label: NDArray[np.int64]
    """(N,): the ID class, -1 for OOD, -2 for an ID picture whose class nobody says."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """Numbers of one pass, or why there are none."""

    key: PassKey
    group: Group
    ids: int
    """ID pictures in the stream, unreadable ones included."""
    oods: int
    """OOD pictures, unreadable ones included."""
    unreadable_ids: int
    unreadable_oods: int
    facts: MethodFacts
    degraded: bool
    """Too many requests failed: the numbers are not the method's."""
    seconds: float
    metrics: Mapping[FprConvention, Metrics] | None = None
    error: str | None = None
    """Why there are no metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values; metrics in percent, unrounded."""
        facts = self.facts
        return {
            "method": self.key.method,
            "ood_set": self.key.ood_set,
            "group": self.group,
            "seed": self.key.seed,
            "prevalence": self.key.prevalence,
            "id_pictures": self.ids,
            "ood_pictures": self.oods,
            "actual_prevalence": self.oods / (self.ids + self.oods),
            "unreadable_id_pictures": self.unreadable_ids,
            "unreadable_ood_pictures": self.unreadable_oods,
            "metrics": None
            if self.metrics is None
            else {convention: one.percent(None) for convention, one in self.metrics.items()},
            "error": self.error,
            "degraded": self.degraded,
            "asked": facts.asked,
            "from_store": facts.from_store,
            "failed": facts.failed,
            "prompt_tokens": facts.prompt_tokens,
            "completion_tokens": facts.completion_tokens,
            "same_run_as": facts.same_run_as,
            "notes": list(facts.notes),
            **dict(facts.more),
            "seconds": round(self.seconds, 3),
        }
