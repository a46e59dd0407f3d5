"""``ants run``: what became of a run, from the folder that it wrote."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ants_engine.cli.options import settings_from, with_json, with_settings
from ants_engine.cli.say import print_json, say

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
    from ants_engine.cli.run_page import list_line
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
    from ants_engine.cli.run_page import page
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
    from ants_engine.cli.run_page import progress_line

    shown: Any = None
    while reader.state in {"running", "starting"}:
        summary = reader.summary
        now = (summary.ended, summary.attempts, summary.events.total())
        if now != shown:
            shown = now
            yield progress_line(reader)
        time.sleep(PAUSE)
        reader.read()
