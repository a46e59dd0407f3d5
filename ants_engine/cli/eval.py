"""``ants eval``: methods side by side on a benchmark, as the field reports it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ants_engine.cli.options import (
    parse_seeds,
    read_classes,
    settings_from,
    split_names,
    with_column,
    with_json,
    with_settings,
)
from ants_engine.cli.output import CONVENTIONS, over_seeds, print_json, render_table, say
from ants_engine.common.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine.evaluation.evaluation import Evaluation
    from ants_engine.evaluation.method import EvaluationPlan, PassResult
    from ants_engine.evaluation.summary import SummaryRow
    from ants_engine.method.metrics import FprConvention

SHOWN = 10


@click.command("eval")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--methods", help="Names with commas, e.g. mcm,neglabel,eoe,ants; all of them by default.")
@click.option("--seeds", default="0", show_default=True, help="Orders of the pictures: 0, or 0,3, or 0-4.")
@click.option("--prevalence", help="Shares of OOD in a stream, e.g. 0.5,0.05; all pictures as they are by default.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Cut every set down to this share of its pictures, the same at every seed.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Pictures scored together; stream.batch_size by default.")
@click.option(
    "--convention",
    type=click.Choice([*CONVENTIONS, "both"]),
    default="openood",
    show_default=True,
    help="Which FPR95: OOD is positive (openood), or ID is (id_positive).",
)
@click.option("--classes", help="The ID classes in the order of the labels: a file with one a line, or with commas.")
@with_column
@click.option("--id", "id_name", help="Which benchmark_imglist/<id>, where there are several.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where listed paths begin.")
@click.option("--ood", help="OOD sets, names with commas; all by default.")
@click.option("--near", default="", help="OOD sets that count as near, names with commas.")
@click.option("--far", default="", help="OOD sets that count as far, names with commas.")
@click.option("--allow-unreadable", is_flag=True, help="Keep unreadable pictures as ones that never pass as known.")
@click.option("--out", type=click.Path(path_type=Path), help="Write CSV, score files, table and results.json here.")
@click.option("--force", is_flag=True, help="Overwrite the results in --out.")
@with_settings
@with_json
def evaluate_methods(
    source: Path,
    methods: str | None,
    seeds: str,
    prevalence: str | None,
    share: float,
    batch_size: int | None,
    convention: str,
    classes: str | None,
    column: str | None,
    id_name: str | None,
    root: Path | None,
    ood: str | None,
    near: str,
    far: str,
    allow_unreadable: bool,
    out: Path | None,
    force: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure methods on SOURCE: a folder with OpenOOD's lists, folders id/ near/ far/, or .npz features.

    Per OOD set and seed every method starts anew and sees ID and OOD pictures once, mixed in a seeded order. Ends with
    exit code 1 where a method failed, or so many MLLM requests that its numbers are not the method's.
    """
    from ants_engine.common.progress import progress_reporter
    from ants_engine.datasets.source import read_benchmark
    from ants_engine.evaluation.evaluation import evaluate
    from ants_engine.evaluation.method import EvaluationPlan
    from ants_engine.evaluation.results_folder import ResultsFolder

    benchmark = read_benchmark(
        source,
        id_name=id_name,
        root=root,
        classes=None if classes is None else read_classes(classes, column),
        chosen=None if ood is None else split_names(ood),
        near=split_names(near),
        far=split_names(far),
    )
    settings = settings_from(config or benchmark.settings_file, assignments)
    plan = EvaluationPlan(
        seeds=tuple(parse_seeds(seeds)),
        prevalences=_prevalences(prevalence),
        share=share,
        batch_size=batch_size or settings.stream.batch_size,
        conventions=_conventions(convention),
    )
    folder = None if out is None else ResultsFolder(out, force=force)
    with progress_reporter(settings.progress.bar, None) as progress:
        found = asyncio.run(
            evaluate(
                benchmark,
                settings,
                plan,
                None if methods is None else split_names(methods),
                allow_unreadable=allow_unreadable,
                out=folder,
                table=_report,
                progress=progress,
            )
        )
    if as_json:
        print_json(found.record())
    else:
        say(_report(found), newline=False)
        where = f"written to {out}" if out else "not written; name a folder with --out to keep it"
        say(f"{len(found.results)} passes in {found.seconds:.0f} s, {where}")
    _warn(found)
    if found.failed or found.degraded:
        return 1
    return 3 if found.unreadable else 0


def _prevalences(text: str | None) -> tuple[float | None, ...]:
    if text is None:
        return (None,)
    try:
        return tuple(float(part) for part in split_names(text))
    except ValueError:
        raise click.UsageError(f"--prevalence {text!r}: write shares with commas, as in 0.5,0.05") from None


def _conventions(name: str) -> "tuple[FprConvention, ...]":
    return tuple(CONVENTIONS) if name == "both" else tuple(one for one in CONVENTIONS if one == name)


def _report(found: "Evaluation") -> str:
    """Say it all for people: sets, tables, notes, requests."""
    from ants_engine.evaluation.results_folder import requests_record

    sets = ", ".join(f"{len(one)} {plain(one.name)}" for one in found.benchmark.sets)
    lines = [f"{plain(found.benchmark.name)}: {len(found.benchmark.classes)} ID classes; pictures: {sets}"]
    lines += _tables(found.rows, found.plan)
    lines += [f"note: {plain(note)}" for note in found.notes()]
    counted = requests_record(found.results)
    if counted["asked"] or counted["from_store"] or counted["failed"]:
        tokens = counted["completion_tokens"]
        lines.append(
            f"MLLM: {counted['asked']} answers asked for, {counted['from_store']} from the store, {counted['failed']} "
            f"failed{'' if tokens is None else f', {tokens} tokens in all answers'}"
        )
    return "".join(f"{line}\n" for line in lines)


def _warn(found: "Evaluation") -> None:
    """Say on stderr which numbers are missing, or are not what they seem."""
    for one in found.failed[:SHOWN]:
        say(plain(f"FAILED: {_pass_name(one)}: {one.error}"), err=True)
    for one in found.degraded[:SHOWN]:
        say(
            f"DEGRADED: {_pass_name(one)}: {one.facts.failed} of {one.facts.requests} requests failed; these numbers "
            "are not the method's",
            err=True,
        )
    for kind, passes in (("failed", found.failed), ("degraded", found.degraded)):
        if len(passes) > SHOWN:
            say(f"and {len(passes) - SHOWN} more {kind} passes", err=True)


def _pass_name(one: "PassResult") -> str:
    key = one.key
    share = "" if key.prevalence is None else f", prevalence {key.prevalence:g}"
    return f"{key.method} on {key.ood_set}, seed {key.seed}{share}"


def _tables(rows: "Sequence[SummaryRow]", plan: "EvaluationPlan") -> list[str]:
    """Draw one table per prevalence and convention."""
    kinds = dict.fromkeys((row.prevalence, row.convention) for row in rows)
    drawn = []
    for prevalence, convention in kinds:
        own = [row for row in rows if (row.prevalence, row.convention) == (prevalence, convention)]
        drawn.append(_table(own, prevalence, convention, plan))
    return drawn


def _table(
    rows: "Sequence[SummaryRow]", prevalence: float | None, convention: "FprConvention", plan: "EvaluationPlan"
) -> str:
    from ants_engine.method.metrics import COLUMNS

    of = "all pictures as they are" if prevalence is None else f"prevalence {prevalence:g}"
    varied = "order" if prevalence is None else "draw and order"
    over = f"{over_seeds(len(plan.seeds))} ({varied})" if len(plan.seeds) > 1 else f", seed {plan.seeds[0]}"
    title = (
        f"In %{over}; {of}; batches of {plan.batch_size}.\n"
        f"FPR@95 by the convention {convention}: {CONVENTIONS[convention]}."
    )
    # the mean of one set is that set
    shown = [row for row in rows if not row.is_mean or row.sets > 1]
    sections = [
        [_cells(row) for row in shown if row.dataset == dataset] for dataset in dict.fromkeys(r.dataset for r in shown)
    ]
    return render_table(title, ["OOD set", "method", *COLUMNS], sections, left=2)


def _cells(row: "SummaryRow") -> list[str]:
    where = f"{row.dataset} (mean of {row.sets})" if row.is_mean else f"{row.dataset} ({row.ids} ID + {row.oods})"
    if row.values is None:
        return [where, row.method, f"failed: {row.failed} passes", "", "", "", ""]
    mark = " DEGRADED" if row.degraded else ""
    return [where, row.method + mark, *("–" if one is None else str(one) for one in row.values.values())]
