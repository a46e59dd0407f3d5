"""Small benchmarks in memory, and methods that say what they are told."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from ants_engine.datasets.benchmark import ID_SET, OOD_LABEL, Benchmark, BenchmarkSet
from ants_engine.errors import ImageError, ImageUnreadableError
from ants_engine.evaluation.method import EvaluationStream, MethodFacts, MethodResult

DIM = 4


def rows_of(count: int, value: float) -> torch.Tensor:
    """Features whose last place says which set they are of and whose first says which row."""
    features = torch.zeros(count, DIM)
    features[:, 0] = torch.arange(count)
    features[:, -1] = value
    return features


def unreadable(*rows: int) -> dict[int, ImageError]:
    return {row: ImageUnreadableError(f"{row}.png", "is no picture") for row in rows}


def id_set(labels: list[int], failures: Mapping[int, ImageError] | None = None) -> BenchmarkSet:
    return BenchmarkSet(
        ID_SET, None, np.array(labels, dtype=np.int64), features=rows_of(len(labels), 1.0), failures=failures or {}
    )


def ood_set(
    count: int, name: str = "near", group: str = "near", failures: Mapping[int, ImageError] | None = None
) -> BenchmarkSet:
    return BenchmarkSet(
        name,
        group,  # type: ignore[arg-type]
        np.full(count, OOD_LABEL, dtype=np.int64),
        features=rows_of(count, -1.0),
        failures=failures or {},
    )


def benchmark(ids: BenchmarkSet, *oods: BenchmarkSet, classes: int = 3) -> Benchmark:
    return Benchmark("small", "features", tuple(f"class {i}" for i in range(classes)), ids, oods)


class Told:
    """A method that computes its answers from the features by a function."""

    def __init__(
        self,
        score: Callable[[torch.Tensor], torch.Tensor],
        name: str = "told",
        facts: MethodFacts | None = None,
        error: Exception | None = None,
    ) -> None:
        self._score = score
        self._name = name
        self._facts = facts or MethodFacts()
        self._error = error
        self.streams: list[EvaluationStream] = []

    @property
    def name(self) -> str:
        return self._name

    async def run(self, stream: EvaluationStream) -> MethodResult:
        self.streams.append(stream)
        if self._error is not None:
            raise self._error
        predicted = stream.features[:, 0].to(torch.int64) % 3
        return MethodResult(predicted.numpy(), self._score(stream.features).numpy(), self._facts)
