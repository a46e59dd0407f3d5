"""``ants run``: what became of a run, from the folder that it wrote."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ants_engine.cli.options import settings_from, with_json, with_settings
from ants_engine.cli.output import print_json, say
from ants_engine.common.terminal_text import plain
from ants_engine.dispatch.runs.run_reader import RunReader

if TYPE_CHECKING:
    from ants_engine.dispatch.runs.run_reader import RunReader


PAUSE = 0.5
"""Seconds between two looks at a run that goes on."""


@click.group()
def run() -> None:
    """Look at runs: finished, going on, or killed."""


@run.command("list")
@click.argument("root", required=False, type=click.Path(path_type=Path))
@with_settings
@with_json
def list_(root: Path | None, config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """List the runs under ROOT (where the setting dispatch.runs says), the newest last."""
    from ants_engine.dispatch.runs.run_reader import RunReader, list_runs

    readers = []
    for folder in list_runs(root or _root(config, assignments)):
        readers.append(RunReader(folder))
        readers[-1].read()
    if as_json:
        print_json([reader.as_json() for reader in readers])
        return
    for reader in readers:
        say(list_line(reader))


@run.command("show")
@click.argument("name", required=False, metavar="[RUN]")
@click.option("--root", type=click.Path(path_type=Path), help="The folder of run folders; dispatch.runs by default.")
@click.option("--follow", is_flag=True, help="Go on until the run ends: a line whenever something has changed.")
@with_settings
@with_json
def show(
    name: str | None,
    root: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    follow: bool,
    as_json: bool,
) -> None:
    """Show RUN, a folder or a run's name or the end of one; the newest by default."""
    from ants_engine.dispatch.runs.run_reader import RunReader, find_run

    reader = RunReader(find_run(root or _root(config, assignments), name))
    reader.read()
    if follow:
        for change in _changes(reader):
            if as_json:
                print_json(reader.as_json(), indent=None)
            else:
                say(change)
    if as_json:
        print_json(reader.as_json(), indent=None if follow else 1)
    else:
        say(page(reader), newline=False)


def _root(config: Path | None, assignments: tuple[str, ...]) -> Path:
    runs = settings_from(config, assignments).dispatch.runs
    if runs is None:
        raise click.UsageError("the setting dispatch.runs is empty: no run folders are kept; name a folder")
    return runs


def _changes(reader: "RunReader") -> Iterator[str]:
    """Give a line for every change until the run is over."""
    shown: Any = None
    while reader.state in {"running", "starting"}:
        summary = reader.summary
        now = (summary.ended, summary.attempts, summary.events.total())
        if now != shown:
            shown = now
            yield progress_line(reader)
        time.sleep(PAUSE)
        reader.read()


BAR = 40
"""The longest bar, in characters."""
LONGEST = 120
"""Characters of one text out of a file."""

_STATES = {
    "running": "running",
    "starting": "starting",
    "killed": "killed: it has no ending, and its process is gone",
    "unknown": "no ending; whether it still runs cannot be told here",
}


def page(reader: RunReader) -> str:
    """Lay out all that is known of a run."""
    return "".join(f"{line}\n" for line in _lines(reader))


def list_line(reader: RunReader) -> str:
    """Lay out one run as a line of a list."""
    summary, facts = reader.summary, _dict(reader.record.get("facts"))
    far = f"{summary.answered} answered ({summary.from_store} from the store), {summary.failed.total()} failed"
    asked = f"{_text(facts.get('mode'))} {_text(facts.get('backend'))} {_text(facts.get('model'))}"
    return f"{plain(reader.folder.name)}  {_state(reader)}  {asked}  {far}"


def progress_line(reader: RunReader) -> str:
    """Lay out where a running run is."""
    summary, progress = reader.summary, reader.summary.progress
    asked = f" of {_text(progress['asked'])}" if "asked" in progress else ""
    parts = [f"{summary.answered}{asked} answered", f"{summary.failed.total()} failed"]
    parts += [f"{name.replace('_', ' ')} {_text(progress[name])}" for name in _PROGRESS if name in progress]
    if "slots" in summary.limit:
        parts.append(f"{_text(summary.limit['slots'])} slots")
    # the last stretch alone may have just begun
    if latest := summary.throughput()[-2:]:
        seconds = latest[-1]["to"] - latest[0]["from"]
        parts.append(f"{sum(row['answers'] for row in latest) / seconds:.1f}/s")
    return f"{summary.last:8.1f} s  {', '.join(parts)}"


_PROGRESS = ("in_flight", "waiting", "retrying", "limit")


def _lines(reader: RunReader) -> Iterator[str]:
    record, summary = reader.record, reader.summary
    yield f"run {plain(reader.folder.name)}: {_state(reader)}"
    yield from (f"  ! {plain(problem)}" for problem in reader.problems)
    if record:
        yield from _asked(record)
    yield from _far(reader)
    if summary.failed:
        yield "failed requests"
        for kind, count in summary.failed.most_common():
            yield f"  {count:6}  {_text(kind)}: {_text(summary.commonest_message(kind))}"
    if summary.failed_attempts:
        yield "failed attempts, those that were tried again included"
        for kind, count in summary.failed_attempts.most_common():
            yield f"  {count:6}  {_text(kind)}"
    yield from _throughput(summary.throughput())
    if summary.events:
        yield f"events: {_counted(summary.events)}"
        for event in summary.last_events:
            yield f"  {event['at']:8.1f} s  {_text(event['kind'])}  {_facts(event['facts'])}".rstrip()


def _asked(record: Mapping[str, Any]) -> Iterator[str]:
    facts, settings = _dict(record.get("facts")), _dict(record.get("settings"))
    dispatch, versions = _dict(settings.get("dispatch")), _dict(record.get("versions"))
    where = f"on {_text(record.get('host'))}, process {_text(record.get('process'))}"
    yield f"  started {_text(record.get('start'))} {where}"
    if record.get("end"):
        yield f"  ended   {_text(record['end'])}"
    yield (
        f"  mode {_text(facts.get('mode'))}, backend {_text(facts.get('backend'))}, model {_text(facts.get('model'))}, "
        f"slots {_text(facts.get('slots'))}, preset {_text(settings.get('preset'))}"
    )
    yield f"  store {_text(dispatch.get('store'))}"
    yield f"  ants-engine {_text(versions.get('ants-engine'))}, Python {_text(versions.get('python'))}"


def _far(reader: RunReader) -> Iterator[str]:
    summary = reader.summary
    line = f"  {summary.answered} answered ({summary.from_store} from the store), {summary.failed.total()} failed"
    if "asked" in summary.progress:
        line += f"; {_text(summary.progress['asked'])} asked"
        line += "".join(
            f", {name.replace('_', ' ')} {_text(summary.progress[name])}"
            for name in _PROGRESS
            if name in summary.progress and reader.state == "running"
        )
    yield line
    for task, counts in summary.tasks.items():
        yield f"    {_text(task)}: {counts['answered']} answered, {counts['failed']} failed"
    yield f"  {summary.attempts} attempts; {summary.retried} requests were tried again"
    yield f"  tokens: {summary.prompt_tokens} in, {summary.completion_tokens} out"
    if "slots" in summary.limit:
        times = summary.events["limit_changed"]
        yield f"  the limit changed {times} times; last to {_text(summary.limit['slots'])} requests at once"
    if summary.first_answer is not None:
        yield f"  first answer after {summary.first_answer:.2f} s"
    if (latency := summary.latency()) is not None:
        shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in latency.items())
        yield f"  from submission to answer, waiting included: {shown}"


def _throughput(rows: list[dict[str, float]]) -> Iterator[str]:
    if not rows:
        return
    yield "answers per second"
    most = max(row["per_second"] for row in rows) or 1.0
    for row in rows:
        bar = "#" * round(BAR * row["per_second"] / most)
        yield f"  {row['from']:8.0f} s  {row['per_second']:8.1f}  {bar}".rstrip()


def _state(reader: RunReader) -> str:
    if reader.ending is None:
        return _STATES[reader.state]
    seconds = reader.record.get("seconds")
    return _text(reader.ending) + (f" after {seconds:.1f} s" if isinstance(seconds, float) else "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{_text(kind)} {count}" for kind, count in counts.most_common())


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{_text(name)} {_text(value)}" for name, value in facts.items())[: 2 * LONGEST]


def _text(value: object) -> str:
    if value is None or value == "":
        return "–"
    text = plain(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
