"""A whole evaluation: benchmark in, numbers and files out. Everything cheap is checked before torch is loaded."""

import asyncio
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ants_engine.common.progress import ProgressCallback, ProgressEvent
from ants_engine.datasets.benchmark import Benchmark, Overlap, find_overlaps
from ants_engine.datasets.draw import sizes
from ants_engine.dispatch.prompt_template import TemplateLibrary
from ants_engine.errors import FeatureError, ImageError, ImageNotFoundError, ImageUnreadableError
from ants_engine.evaluation.method import (
    EOE,
    EvaluationPlan,
    PassResult,
    PassScores,
    asking_methods,
    check_names,
    check_sizes,
)
from ants_engine.evaluation.results_folder import (
    ResultsFolder,
    benchmark_record,
    models_record,
    package_versions,
    plan_record,
    requests_record,
)
from ants_engine.evaluation.summary import SummaryRow, summarise
from ants_engine.learning.preflight import check_mllm, check_models
from ants_engine.method.metrics import require_metrics
from ants_engine.method.rounding import share_of
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings

if TYPE_CHECKING:
    from ants_engine.clip.encoder import ClipEncoder
    from ants_engine.evaluation.methods import MethodSet

SHOWN = 5
KEEP = "an unreadable picture can be kept as one that never passes as known: --allow-unreadable"


@dataclass(slots=True)
class Evaluation:
    """Results so far; filled in while the evaluation runs."""

    benchmark: Benchmark
    plan: EvaluationPlan
    settings: Settings
    overlaps: Sequence[Overlap] = ()
    unreadable: Sequence[tuple[str, ImageError]] = ()
    """Set and error of every unusable picture."""
    methods: "MethodSet | None" = None
    results: list[PassResult] = field(default_factory=list)
    rows: Sequence[SummaryRow] = ()
    """Over the seeds; empty until all passes are done, since a mean over fewer seeds would be another number."""
    complete: bool = False
    started: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> list[PassResult]:
        """Return the passes without numbers."""
        return [one for one in self.results if one.error is not None]

    @property
    def degraded(self) -> list[PassResult]:
        """Return the passes in which too many requests failed, so that the numbers are not the method's."""
        return [one for one in self.results if one.degraded]

    def notes(self) -> list[str]:
        """Return notes for readers of the numbers."""
        found = [*self.benchmark.notes, *map(str, self.overlaps)]
        if self.methods is not None:
            found += self.methods.notes
        if self.unreadable:
            found.append(
                f"{_counted(self.unreadable)}; kept as pictures that never pass as known (ID: a false alarm and a "
                "wrong prediction; OOD: caught)"
            )
        found += self._cut_down()
        said = dict.fromkeys(f"{one.key.method}: {note}" for one in self.results for note in one.facts.notes)
        return [*found, *said]

    def _cut_down(self) -> list[str]:
        """Note where a prevalence is reached by fewer ID pictures, since there are too few OOD ones."""
        whole, share = self.benchmark.id_set, self.plan.share
        all_ids = share_of(share, len(whole))
        found = []
        for one in self.benchmark.ood_sets:
            for prevalence in self.plan.prevalences:
                ids, oods = sizes(whole, one, prevalence, share)
                if ids < all_ids:
                    found.append(
                        f"prevalence {prevalence:g} of {one.name}: its {oods} pictures are too few for {all_ids} ID "
                        f"pictures, so that {ids} of these are drawn"
                    )
        return found

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        ants = None if self.methods is None else self.methods.ants
        return {
            "complete": self.complete,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "benchmark": benchmark_record(self.benchmark),
            "plan": plan_record(self.plan),
            "methods": list(dict.fromkeys(one.key.method for one in self.results)),
            "summary": [row.to_dict() for row in self.rows],
            "notes": self.notes(),
            "overlaps": [
                {"ood_set": one.ood_set, "same_path": list(one.same_path), "same_content": list(one.same_content)}
                for one in self.overlaps
            ],
            "unreadable": [
                {"set": name, "picture": error.name, "reason": str(error)} for name, error in self.unreadable
            ],
            "failed_passes": len(self.failed),
            "degraded_passes": len(self.degraded),
            "requests": requests_record(self.results),
            **models_record(self.results),
            "clip": None if ants is None else dict(ants.detector.clip_identity),
            "lexicon_sha256": None if ants is None else ants.report.lexicon_sha256 or None,
            "temperature": None if ants is None else ants.detector.temperature,
            "versions": package_versions(),
            "settings": self.settings.model_dump(mode="json"),
            "passes": [one.to_dict() for one in self.results],
        }


async def evaluate(
    benchmark: Benchmark,
    settings: Settings,
    plan: EvaluationPlan,
    names: Sequence[str] | None = None,
    *,
    allow_unreadable: bool = False,
    out: ResultsFolder | None = None,
    encoder: "ClipEncoder | None" = None,
    table: "Callable[[Evaluation], str] | None" = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Measure methods on a benchmark.

    Score files are written pass by pass. ``results.json`` is written even when the evaluation is interrupted, then with
    ``complete`` false and without a summary.

    Args:
        benchmark: pictures or features.
        settings: of CLIP, ANTS and the MLLM.
        plan: the protocol.
        names: methods, see `method_names`; all that the benchmark allows by default.
        allow_unreadable: keep missing and unreadable pictures as ones that are never accepted as ID; otherwise they end
            the evaluation before anything is scored.
        out: where results are written; nowhere by default.
        encoder: a loaded CLIP model in place of the one that the settings name.
        table: renders ``table.txt``.
        progress: called with stages ``pictures`` and ``passes``.

    Raises:
        UsageError: methods, plan, classes or settings do not fit.
        BackendError: a method asks an MLLM that cannot be reached or does not know the model.
        FeatureError: the features are of another CLIP model than the settings name.
        ImageError: pictures cannot be used; gives their number and the first names.
    """
    check_names(names or ())
    require_metrics()
    check_sizes(benchmark, plan)
    if not allow_unreadable:
        _refuse_missing(benchmark)
    await _check_models(names, benchmark, settings, encoder)
    # these import torch
    from ants_engine.clip.encoder import ClipEncoder
    from ants_engine.evaluation.methods import make_methods
    from ants_engine.evaluation.runner import encode_pictures, run_passes, unreadable_pictures

    # one progress bar at a time
    quiet = load_settings(settings, progress={"bar": "off"})
    found = Evaluation(benchmark, plan, settings, started=datetime.datetime.now(datetime.UTC).isoformat())
    began = time.monotonic()
    try:
        found.overlaps = await asyncio.to_thread(find_overlaps, benchmark)
        if benchmark.space is None:
            if encoder is None:
                encoder = await asyncio.to_thread(ClipEncoder.load, settings.clip)
            _check_model(benchmark, encoder)
            found.benchmark = await encode_pictures(benchmark, encoder, quiet, _stage("pictures", progress))
        found.unreadable = unreadable_pictures(found.benchmark)
        if found.unreadable and not allow_unreadable:
            _, first = found.unreadable[0]
            raise ImageUnreadableError(first.name, f"{_counted(found.unreadable)}; {KEEP}")
        found.methods = await make_methods(names, found.benchmark, quiet, encoder)
        methods = found.methods.methods
        total = len(methods) * len(plan.seeds) * len(plan.prevalences) * len(benchmark.ood_sets)

        def done(result: PassResult, scores: PassScores | None) -> None:
            found.results.append(result)
            if out is not None and scores is not None:
                out.add_scores(result.key, scores)
            if progress is not None:
                progress(
                    ProgressEvent("passes", len(found.results), total, f"{result.key.method}, {result.key.ood_set}")
                )

        await run_passes(found.benchmark, methods, plan, min_success=settings.dispatch.min_success, on_pass=done)
        found.rows = summarise(found.results, plan.conventions)
        found.complete = True
    finally:
        found.seconds = time.monotonic() - began
        if out is not None and found.results:
            if found.complete and table is not None:
                out.add_tables(found.rows, table(found))
            out.add_record(found.record())
    return found


def _stage(name: str, progress: ProgressCallback | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(ProgressEvent(name, done, total))


async def _check_models(
    names: Sequence[str] | None, benchmark: Benchmark, settings: Settings, encoder: "ClipEncoder | None"
) -> None:
    """Check templates, models and the MLLM."""
    await asyncio.to_thread(check_models, settings, clip=encoder is None and benchmark.space is None)
    asking = asking_methods(names, benchmark)
    if EOE in asking:
        TemplateLibrary(settings.prompts.folder).load(settings.eoe.template_ref)
    if asking:
        await check_mllm(settings)


def _refuse_missing(benchmark: Benchmark) -> None:
    gone = [
        (one.name, ImageNotFoundError(str(image), f"listed in {one.origin}, and not there"))
        for one in benchmark.sets
        for image in one.images or ()
        # an unreadable folder is among the pictures, and reports its own error when it is loaded
        if isinstance(image, Path) and not image.is_file() and not image.is_dir()
    ]
    if gone:
        raise ImageNotFoundError(gone[0][1].name, f"{_counted(gone)}; {KEEP}")


def _check_model(benchmark: Benchmark, encoder: "ClipEncoder") -> None:
    if benchmark.clip and benchmark.clip != encoder.identity_sha256:
        raise FeatureError(
            f"{benchmark.name}: its features are of the CLIP {benchmark.clip}, and clip.model names "
            f"{encoder.identity_sha256}"
        )
    for one in benchmark.sets:
        if one.features is not None and one.features.shape[1] != encoder.dim:
            raise FeatureError(
                f"{one.origin}: features of width {one.features.shape[1]}, and the CLIP that clip.model names gives "
                f"{encoder.dim}"
            )


def _counted(errors: Sequence[tuple[str, ImageError]]) -> str:
    """Describe unusable pictures: their number by set, and the first ones."""
    sets: dict[str, int] = {}
    for name, _ in errors:
        sets[name] = sets.get(name, 0) + 1
    by_set = ", ".join(f"{count} of {name}" for name, count in sets.items())
    shown = "; ".join(str(error) for _, error in errors[:SHOWN])
    more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    return f"{len(errors)} pictures cannot be used ({by_set}): {shown}{more}"
