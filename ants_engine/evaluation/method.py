"""The protocol of an evaluation: plan, streams, methods by name, and the results of passes.

Nothing here imports torch, so that mistakes are reported before it is loaded.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ants_engine.baselines import registry
from ants_engine.datasets.benchmark import Benchmark, Group
from ants_engine.datasets.draw import sizes
from ants_engine.errors import UsageError
from ants_engine.method.metrics import FprConvention, Metrics

if TYPE_CHECKING:
    from torch import Tensor

Column: TypeAlias = Literal["id_score", "ens_score", "vsnl_score", "union_score"]

COLUMNS: dict[str, Column] = {
    "ants": "id_score", "ants-ens": "ens_score", "ants-vsnl": "vsnl_score", "ants-union": "union_score"
}  # fmt: skip
"""Methods that are score columns of one run: by the settings, each bank alone, both in one softmax."""
FROZEN = "ants-frozen"


WITHOUT_NEGATIVES = frozenset({"mcm", "max-logit", "energy", "eoe"})
"""Methods that need no initial negatives."""
EOE = "eoe"
WITH_TEXTS = frozenset({EOE, FROZEN, *COLUMNS})
"""Methods that ask an MLLM, and need a CLIP model to encode its texts."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Every OOD set is run once per seed and prevalence; each method starts from its initial state."""

    seeds: tuple[int, ...] = (0,)
    """A seed determines the order of the pictures and, with a prevalence, which ones are drawn."""
    prevalences: tuple[float | None, ...] = (None,)
    """Shares of OOD pictures in a stream, each in (0, 1); ``None`` takes all pictures as they are."""
    share: float = 1.0
    """Share of every set's pictures that is used, in (0, 1]; the same ones at every seed."""
    batch_size: int = 256
    """Pictures that a method scores together; scores of test-time methods depend on it."""
    conventions: tuple[FprConvention, ...] = ("openood",)
    """The definitions of FPR95 to report."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: one is outside its range, or there is no seed, prevalence or convention.
        """
        for prevalence in self.prevalences:
            if prevalence is not None and not 0.0 < prevalence < 1.0:
                raise UsageError(f"a prevalence is a share of OOD pictures above 0 and below 1, not {prevalence}")
        if not 0.0 < self.share <= 1.0:
            raise UsageError(f"share must be above 0 and at most 1, not {self.share}")
        if self.batch_size < 1:
            raise UsageError(f"batch size must be at least 1, not {self.batch_size}")
        for what, values in (
            ("seed", self.seeds), ("prevalence", self.prevalences), ("convention", self.conventions)
        ):  # fmt: skip
            if not values or len(set(values)) != len(values):
                raise UsageError(f"at least one {what} is needed, and each once; given: {list(values)}")


def check_sizes(benchmark: Benchmark, plan: EvaluationPlan) -> None:
    """Check that every stream can be drawn, so that it does not fail after hours of scoring.

    Raises:
        UsageError: a prevalence leaves no picture on one side.
    """
    for one in benchmark.ood_sets:
        for prevalence in plan.prevalences:
            sizes(benchmark.id_set, one, prevalence, plan.share)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationStream:
    """The input of one pass: N readable pictures, the ID set and one OOD set mixed in a seeded order."""

    features: "Tensor"
    """(N, D) float32, L2-normalised."""
    images: Sequence[Any] | None
    """N pictures as `open_images` takes them; None where there are features only."""
    labels: NDArray[np.int64]
    """(N,): the ID class, -1 for OOD, -2 for an ID picture of unknown class. Methods must not use it."""
    set_name: str
    """The OOD set."""
    seed: int
    prevalence: float | None
    """Requested share of OOD pictures; None for all pictures as they are."""
    batch_size: int
    """Pictures that are scored together."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """Cost and provenance of a method's scores."""

    asked: int = 0
    """Requests sent to an MLLM, failed ones included."""
    from_store: int = 0
    """Requests answered by the response store."""
    failed: int = 0
    """Requests without an answer."""
    prompt_tokens: int | None = None
    """None where it is not reported."""
    completion_tokens: int | None = None
    mllm: Mapping[str, Any] = field(default_factory=dict)
    """Identity of the MLLM."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Prompt templates and the sha256 of their files."""
    same_run_as: str | None = None
    """The method whose run these scores come from; its requests are not counted again."""
    notes: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON values for the record."""

    @property
    def requests(self) -> int:
        """Return the number of requests."""
        return max(self.asked + self.from_store, self.failed)

    def degraded(self, min_success: float) -> bool:
        """Return whether so many requests failed that the scores are not the method's.

        A single failure among several is tolerated, as when a detector is built.
        """
        if self.failed <= (1 if self.requests > 1 else 0):
            return False
        return 1.0 - self.failed / self.requests < min_success


def counts_of(source: object) -> dict[str, Any]:
    """Return the requests and tokens that a report, or `MethodFacts`, counts, as fields of `MethodFacts`."""
    names = ("asked", "from_store", "failed", "prompt_tokens", "completion_tokens")
    return {name: getattr(source, name) for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """A method's scores of N pictures, in the stream's order."""

    predicted: NDArray[np.int64]
    """(N,): the predicted ID class."""
    id_score: NDArray[np.floating[Any]]
    """(N,): finite, **higher means more ID**."""
    facts: MethodFacts = field(default_factory=MethodFacts)


class Method(Protocol):
    """A method under evaluation."""

    @property
    def name(self) -> str:
        """Return its name in tables and files."""
        ...

    async def run(self, stream: EvaluationStream) -> MethodResult:
        """Reset, then score the stream in one pass, batch by batch.

        Raises:
            ANTSError: the pass is then reported as failed, and the others continue.
        """
        ...


@dataclass(frozen=True, slots=True)
class PassKey:
    """Identifies a pass."""

    method: str
    ood_set: str
    seed: int
    prevalence: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PassScores:
    """The content of a score file, unreadable pictures included, in the stream's order."""

    pred: NDArray[np.int64]
    """(N,): predicted ID class; -1 for an unreadable picture."""
    conf: NDArray[np.float64]
    """(N,): higher means more ID; 1 below the minimum for an unreadable picture."""
    label: NDArray[np.int64]
    """(N,): the ID class, -1 for OOD, -2 for an ID picture of unknown class."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """Metrics of one pass, or its error."""

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
        """Return JSON values; metrics in percent, unrounded."""
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
            **counts_of(facts),
            "same_run_as": facts.same_run_as,
            "notes": list(facts.notes),
            **dict(facts.more),
            "seconds": round(self.seconds, 3),
        }


def method_names() -> tuple[str, ...]:
    """Return every method's name: the baselines, then ANTS."""
    return (*registry.names(), *COLUMNS, FROZEN)


def check_names(names: Sequence[str]) -> None:
    """Refuse unknown methods.

    Raises:
        UsageError: a name is unknown; names the nearest one and all there are.
    """
    known = method_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"no method {name!r}{hint} There are: {', '.join(known)}")


def asking_methods(names: Sequence[str] | None, benchmark: Benchmark) -> list[str]:
    """Return the methods that will ask an MLLM on this benchmark; ``names`` as for `make_methods`."""
    missing = missing_parts(benchmark)
    return [name for name in names or method_names() if name in WITH_TEXTS and name not in missing]


def missing_parts(benchmark: Benchmark) -> dict[str, str]:
    """Return the methods that cannot be run on a benchmark, with what they lack."""
    if benchmark.space is None:
        return {}
    missing = {}
    for name in method_names():
        if name in WITH_TEXTS:
            missing[name] = (
                "it encodes an MLLM's texts, and text features that were given leave no CLIP for that; without "
                "class_features in the file, the CLIP of the settings is used"
            )
        elif name not in WITHOUT_NEGATIVES and benchmark.space.negative_features is None:
            missing[name] = "there are no negative_features"
    return missing
