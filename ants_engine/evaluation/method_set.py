"""The methods that an evaluation runs, by name, on one text space."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ants_engine.ants import ANTS
from ants_engine.baselines import registry
from ants_engine.baselines.text_space import TextSpace
from ants_engine.clip.encoding import Encoder
from ants_engine.datasets.benchmark import Benchmark
from ants_engine.errors import UsageError
from ants_engine.evaluation.ants_method import COLUMNS, FROZEN, AntsMethod, AntsRun, FrozenAntsMethod
from ants_engine.evaluation.baseline_method import BaselineMethod, EoeMethod
from ants_engine.evaluation.method import Method
from ants_engine.settings.config import Settings

WITHOUT_NEGATIVES = frozenset({"mcm", "max-logit", "energy", "eoe"})
"""What can do without initial negatives."""
WITH_TEXTS = frozenset({"eoe", FROZEN, *COLUMNS})
"""What asks an MLLM, and needs a CLIP to encode its texts."""


@dataclass(frozen=True, slots=True, eq=False)
class MethodSet:
    """Methods ready to run."""

    methods: tuple[Method, ...]
    ants: ANTS
    """The cold start that they share: classes, initial negatives, temperature."""
    notes: tuple[str, ...]
    """Which methods were left out, and why."""


def method_names() -> tuple[str, ...]:
    """Return every method's name: the baselines, then ANTS."""
    return (*registry.names(), *COLUMNS, FROZEN)


def check_names(names: Sequence[str]) -> None:
    """Refuse what is no method.

    Raises:
        UsageError: names the nearest one and all there are.
    """
    known = method_names()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"no method {name!r}{hint} There are: {', '.join(known)}")


def asking_methods(names: Sequence[str] | None, benchmark: Benchmark) -> list[str]:
    """Return those of the methods that will ask an MLLM on this benchmark; ``names`` as for `make_methods`."""
    missing = _missing(benchmark)
    return [name for name in names or method_names() if name in WITH_TEXTS and name not in missing]


async def make_methods(
    names: Sequence[str] | None,
    benchmark: Benchmark,
    settings: Settings,
    encoder: Encoder | None = None,
) -> MethodSet:
    """Make methods that share class features, initial negatives and temperature.

    Args:
        names: of `method_names`; all that this benchmark allows by default.
        benchmark: with ``space``, its text features are used and no CLIP is needed.
        settings: of ANTS and of the MLLM.
        encoder: a loaded CLIP; may be ``None`` where the benchmark has a ``space``.

    Raises:
        UsageError: no such method, or one that was named cannot be run on features alone; says what is missing.
    """
    check_names(names or ())
    missing = _missing(benchmark)
    chosen, notes = [], []
    for name in names or method_names():
        if name not in missing:
            chosen.append(name)
        elif names:
            raise UsageError(f"{name} cannot be run on {benchmark.name}: {missing[name]}")
        else:
            notes.append(f"{name} is left out: {missing[name]}")
    ants = await _cold_start(benchmark, settings, encoder)
    space = TextSpace.of(ants.detector)
    run = AntsRun(ants)
    methods: list[Method] = []
    for name in chosen:
        if name in COLUMNS:
            methods.append(AntsMethod(run, name))
        elif name in (FROZEN, EoeMethod.name):
            if encoder is None:
                raise ValueError(f"{name} needs a CLIP")
            frozen = name == FROZEN
            methods.append(
                FrozenAntsMethod(benchmark.classes, settings, encoder)
                if frozen
                else EoeMethod(ants.detector, settings, encoder)
            )
        else:
            methods.append(BaselineMethod(registry.create(name, space)))
    return MethodSet(tuple(methods), ants, tuple(notes))


def _missing(benchmark: Benchmark) -> dict[str, str]:
    """Return the methods that cannot be run, each with what is missing."""
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


async def _cold_start(benchmark: Benchmark, settings: Settings, encoder: Encoder | None) -> ANTS:
    space = benchmark.space
    if space is None:
        return await ANTS.build(benchmark.classes, config=settings, encoder=encoder)
    negatives = space.negative_features
    return ANTS.from_features(
        benchmark.classes,
        space.class_features,
        negative_features=torch.zeros(0, space.class_features.shape[1]) if negatives is None else negatives,
        negative_texts=space.negative_texts,
        logit_scale=space.logit_scale,
        config=settings,
    )
