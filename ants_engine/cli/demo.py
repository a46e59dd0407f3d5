"""``ants demo``: the main job on a world of its own, from pictures to a bit-identical replay."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ants_engine.cli.options import parse_seeds, settings_from, with_assignments, with_json
from ants_engine.cli.output import over_seeds, print_json, render_table, say
from ants_engine.common.terminal_text import plain, plain_parts

if TYPE_CHECKING:
    from ants_engine import ANTS, Scores
    from ants_engine.datasets.openood import ListedImage
    from ants_engine.datasets.world import MixedStream, World
    from ants_engine.evaluation.comparison import Comparison
    from ants_engine.learning.report import BatchRecord
    from ants_engine.settings.config import Settings


SHOWN = 10


@dataclass(frozen=True)
class _Run:
    """One build on one stream, and what came of it."""

    seed: int
    ants: "ANTS"
    scores: "Scores"
    comparison: "Comparison"
    stream: "MixedStream"
    seconds: float


@click.command()
@click.argument("world", type=click.Path(exists=True, file_okay=False, path_type=Path), default="examples/emoji_world")
@click.option("--seeds", default="0", show_default=True, help="Stream seeds: 0, or 0,3, or 0-4 for mean and spread.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Share of each set's pictures that makes a stream.",
)
@click.option("--each", is_flag=True, help="A stream and a detector per OOD set, as benchmarks do, not one for all.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path(".ants", "demo", "report.html"),
    show_default=True,
    help="Where the page is written; with one stream and without --json.",
)
@with_assignments
@with_json
def demo(
    world: Path, seeds: str, share: float, assignments: tuple[str, ...], each: bool, report: Path, as_json: bool
) -> int:
    """Build on a stream of WORLD, compare with baselines, explain ten pictures, replay, and write a page of it all."""
    from ants_engine.datasets.world import ID_SET, read_world
    from ants_engine.evaluation.comparison import Comparison

    place = read_world(world)
    numbers = parse_seeds(seeds)
    oods = [name for name in place.sets if name != ID_SET]
    mixes = [(name,) for name in oods] if each else [tuple(oods)]
    plan = [(seed, mix) for seed in numbers for mix in mixes]
    if len(plan) == 1 and not as_json:
        from ants_engine.learning.preflight import check_file_out

        check_file_out(report)
    runs = [asyncio.run(_run(place, seed, share, mix, assignments)) for seed, mix in plan]
    first = runs[0]
    per_seed = [Comparison.joined([run.comparison for run in runs if run.seed == seed]) for seed in numbers]
    if as_json:
        same = asyncio.run(_same_bits(place, first, assignments))
        print_json({"runs": [_facts(run) for run in runs], "replay_identical": same})
        return 0 if same else 1
    for run in runs:
        _describe(run)
    _print_table(per_seed)
    if len(numbers) == 1:
        _print_verdicts(first)
    started = time.monotonic()
    same = asyncio.run(_same_bits(place, first, assignments))
    took = time.monotonic() - started
    word = "bit-identical" if same else "DIFFERENT"
    say(f"\nReplayed from the recorded answers, without the MLLM, in {took:.0f} s: the scores are {word}.")
    if len(runs) == 1:
        _write_page(report, place, first, assignments)
    return 0 if same else 1


async def _run(world: "World", seed: int, share: float, ood: tuple[str, ...], assignments: tuple[str, ...]) -> _Run:
    from ants_engine import ANTS
    from ants_engine.datasets.world import mixed_stream
    from ants_engine.evaluation.comparison import compare

    stream = mixed_stream(world, seed, share, ood)
    paths = [image.path for image in stream.images]
    started = time.monotonic()
    ants = await ANTS.build(world.classes, paths, config=settings_from(world.settings_file, assignments))
    features = await ants.encode(paths)
    scores = await asyncio.to_thread(ants.score_features, features)
    took = time.monotonic() - started
    labels = [image.label for image in stream.images]
    return _Run(seed, ants, scores, compare(ants.detector, features, scores, stream.sets, labels), stream, took)


async def _same_bits(world: "World", first: _Run, assignments: tuple[str, ...]) -> bool:
    from ants_engine import ANTS

    settings = settings_from(world.settings_file, assignments, dispatch={"mode": "replay"})
    paths = [image.path for image in first.stream.images]
    again = await ANTS.build(world.classes, paths, config=settings)
    scores = again.score_features(await again.encode(paths))
    columns = ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted")
    same = all(getattr(scores, name).tobytes() == getattr(first.scores, name).tobytes() for name in columns)
    return same and (scores.weight, scores.threshold) == (first.scores.weight, first.scores.threshold)


def _write_page(report: Path, world: "World", run: _Run, assignments: tuple[str, ...]) -> None:
    from ants_engine.errors import MissingDependencyError

    settings = settings_from(world.settings_file, assignments)
    try:
        written = asyncio.run(write_demo_report(report, world, run.ants, run.stream, settings))
    except MissingDependencyError as error:
        say(plain(f"No page: {error}"))
        return
    say("\nAll of it on a page, to look at in a browser:")
    say(plain(str(written.resolve())))


def _facts(run: _Run) -> dict[str, object]:
    report = run.ants.report.to_dict()
    report.pop("set_aside")
    return {
        "seed": run.seed,
        "sets": sorted(set(run.stream.sets)),
        "weight": run.ants.weight,
        "threshold": run.ants.threshold,
        "seconds": round(run.seconds, 1),
        "metrics": run.comparison.to_dict(),
        "report": report,
    }


def _describe(run: _Run) -> None:
    counts = {name: run.stream.sets.count(name) for name in dict.fromkeys(run.stream.sets)}
    mixed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda pair: pair[0] != "id"))
    say(f"Stream {run.seed}: {len(run.stream.images)} pictures, mixed ({mixed}), {len(run.ants.classes)} ID classes")
    for line in str(plain_parts(run.ants.report)).splitlines():
        say(f"  {line}")
    say(f"  lambda {run.ants.weight:.3f}, threshold {run.ants.threshold:.3f}, {run.seconds:.0f} s\n")


def _print_table(comparisons: Sequence["Comparison"]) -> None:
    from ants_engine.evaluation.comparison import METHODS
    from ants_engine.evaluation.summary import Spread

    def spread(method: str, name: str, column: str) -> str:
        return str(Spread.of([100 * float(getattr(one.metrics[method][name], column) or 0.0) for one in comparisons]))

    names = list(comparisons[0].metrics["MCM"])
    over = over_seeds(len(comparisons))
    columns = [f"{name}-OOD {column}" for name in names for column in ("FPR95", "AUROC")]
    rows = [
        [f"{method} ({what})", *(spread(method, name, column) for name in names for column in ("fpr95", "auroc"))]
        for method, what in METHODS.items()
    ]
    title = f"FPR95 (convention openood, lower is better) / AUROC (higher is better), in %{over}"
    say(render_table(title, ["method", *columns], [rows]), newline=False)
    say(f"ID accuracy {spread('MCM', names[0], 'accuracy')} %")


def _print_verdicts(run: _Run) -> None:
    """Show pictures of every set in turn, right and wrong as they come."""
    say(f"\n{SHOWN} pictures and why:")
    rows: list[int] = []
    by_set = {
        name: [row for row, own in enumerate(run.stream.sets) if own == name] for name in dict.fromkeys(run.stream.sets)
    }
    while len(rows) < min(SHOWN, len(run.stream.images)):
        rows += [own.pop(0) for own in by_set.values() if own]
    for row in rows[:SHOWN]:
        image = run.stream.images[row]
        truth = run.ants.classes[image.label] if run.stream.sets[row] == "id" else f"{run.stream.sets[row]}-OOD"
        say(f"[{plain(truth)}] {plain_parts(run.ants.explain(image.path, top=1))}")


BATCHES = 8
MOST = 480
"""Pictures of the stream: enough to see a detector learn, and no more."""


async def write_demo_report(
    path: Path, world: "World", ants: "ANTS", stream: "MixedStream", settings: "Settings"
) -> Path:
    """Write the page.

    Args:
        path: the file.
        world: where other pictures are taken from.
        ants: the detector that was built on ``stream``.
        stream: its pictures, with their sets and labels.
        settings: of the cold start that other pictures are streamed through.
    """
    from ants_engine.report.assemble import Options, detector_document
    from ants_engine.report.page import write_page

    others = _others(world, stream)
    batches = await _adapted(world, others, settings)
    labels = [
        world.classes[image.label] if image.label >= 0 else name
        for image, name in zip(stream.images, stream.sets, strict=True)
    ]
    paths = [image.path for image in stream.images]
    options = Options(title=f"{world.folder.resolve().name.replace('_', ' ').capitalize()}, a demonstration")
    document = await detector_document(ants.saved, ants.look_at, paths, labels=labels, options=options)
    missing = {name: text for name, text in document.missing.items() if name not in ("batches", "latency")}
    note = (
        f"Everything but the section on the stream is about one detector, built on {len(paths)} pictures at once. The "
        f"stream is a cold start on {len(others)} other pictures."
    )
    notes = (*document.notes, note) if others else document.notes
    shown = document.model_copy(update={"batches": batches, "notes": notes, "missing": missing})
    return await asyncio.to_thread(write_page, path, shown)


def _others(world: "World", stream: "MixedStream") -> "Sequence[ListedImage]":
    from ants_engine.datasets.world import mixed_stream

    seen = {image.path for image in stream.images}
    every = mixed_stream(world, seed=1)
    return [image for image in every.images if image.path not in seen][: min(MOST, len(stream.images))]


async def _adapted(world: "World", others: "Sequence[ListedImage]", settings: "Settings") -> "tuple[BatchRecord, ...]":
    from ants_engine import ANTS

    if not others:
        return ()
    cold = await ANTS.build(world.classes, config=settings)
    size = max(1, -(-len(others) // BATCHES))
    async for _ in cold.stream([image.path for image in others], batch_size=size):
        pass
    return tuple(cold.report.batches)
