"""How a benchmark is run: seeds, prevalences, batch size, convention."""

from dataclasses import dataclass

from ants_engine.errors import UsageError
from ants_engine.method.metrics import FprConvention


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Every OOD set is run once per seed and prevalence, with a method that starts anew."""

    seeds: tuple[int, ...] = (0,)
    """Each gives the pictures another order and, with a prevalence, draws other ones."""
    prevalences: tuple[float | None, ...] = (None,)
    """Shares of OOD pictures in a stream, each in (0, 1); ``None`` takes all pictures as they are."""
    share: float = 1.0
    """Share of every set's pictures, in (0, 1], that the benchmark is cut down to: the same ones at every seed."""
    batch_size: int = 256
    """Pictures that a method scores together; test-time methods depend on it."""
    conventions: tuple[FprConvention, ...] = ("openood",)
    """Which FPR95 is reported."""

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
