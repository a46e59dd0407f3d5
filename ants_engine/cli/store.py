"""``ants store``: the response store, and cassettes made of it. ``ants cache`` is its name of old, until 1.0."""

import asyncio
import re
import time
from dataclasses import asdict
from pathlib import Path

import click

from ants_engine.cli.options import settings_from, with_json, with_settings
from ants_engine.cli.output import print_json, say
from ants_engine.common.terminal_text import plain

SHOWN = 20
"""Entries that are listed one by one for people; JSON has all."""
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.group()
def store() -> None:
    """Export, import, count, check and tidy recorded answers."""


@store.command("export")
@click.argument("cassette", type=click.Path(path_type=Path))
@with_settings
def export_cassette(cassette: Path, config: Path | None, assignments: tuple[str, ...]) -> None:
    """Write every recorded answer to CASSETTE, one readable line each."""
    from ants_engine.dispatch.storage.cassette import export
    from ants_engine.dispatch.storage.store import ResponseStore
    from ants_engine.learning.preflight import check_cassette_out

    folder = _folder(config, assignments)
    check_cassette_out(cassette)

    async def run() -> int:
        async with ResponseStore(folder, strict=True) as store:
            return await export(store, cassette)

    say(f"{asyncio.run(run())} answers written to {plain(str(cassette))}")


@store.command("import")
@click.argument("cassette", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def import_cassette(cassette: Path, config: Path | None, assignments: tuple[str, ...]) -> None:
    """Add every answer of CASSETTE to the store; all of them, or none if the file is damaged."""
    from ants_engine.dispatch.storage.cassette import import_
    from ants_engine.dispatch.storage.store import ResponseStore

    async def run() -> int:
        async with ResponseStore(_folder(config, assignments)) as store:
            return await import_(cassette, store)

    say(f"{asyncio.run(run())} answers read from {plain(str(cassette))}")


@store.command("stats")
@with_settings
@with_json
def stats(config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Count recorded answers and failures by task, template and model, with tokens, bytes and dates."""
    from ants_engine.dispatch.storage.store import ResponseStore
    from ants_engine.dispatch.storage.upkeep import Holdings, count

    folder = _folder(config, assignments)

    async def run() -> Holdings:
        async with ResponseStore(folder, strict=True) as store:
            return await count(store)

    held = asyncio.run(run())
    if as_json:
        print_json({"store": str(folder), **held.as_json()})
        return
    answers, failures = sum(held.answers.values()), sum(held.failures.values())
    say(f"{plain(str(folder))}: {answers} answers, {failures} failures, {held.size:,} bytes")
    for task in sorted({*held.answers, *held.failures}):
        say(f"  {plain(task)}: {held.answers[task]} answers, {held.failures[task]} failures")
    for what, counts in (("template", held.templates), ("model", held.models)):
        for name, number in sorted(counts.items()):
            say(f"  {what} {plain(name)}: {number}")
    say(f"  tokens: {held.prompt_tokens:,} of prompts, {held.completion_tokens:,} of answers, as far as servers told")
    if held.oldest is not None and held.newest is not None:
        say(f"  stored from {_moment(held.oldest)} to {_moment(held.newest)}")


@store.command("verify")
@with_settings
@with_json
def verify_store(config: Path | None, assignments: tuple[str, ...], as_json: bool) -> int:
    """Check every entry, and what else is in the store's folder. Nothing is changed; the exit code is 1 for damage."""
    from ants_engine.dispatch.storage.upkeep import verify

    folder = _folder(config, assignments)
    found = verify(folder)
    if as_json:
        print_json({"store": str(folder), "sound": not found.damaged, **asdict(found)})
    else:
        say(f"{plain(str(folder))}: {found.answers} answers and {found.failures} failures are sound")
        if found.replaced:
            say(f"  {found.replaced} older lines that later ones replace")
        for each in found.damaged:
            name = f"entry {each.key[:12]}… ({plain(each.task) or 'task unknown'}): " if each.key else ""
            say(f"  damaged: {name}{plain(each.reason)}")
        if found.damaged:
            say("run 'ants store repair' to move aside what is damaged and keep the rest")
    return 1 if found.damaged else 0


@store.command("repair")
@with_settings
@with_json
def repair_store(config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Move aside what is damaged, and keep all that can be read and verifies. Nothing is deleted."""
    from ants_engine.dispatch.storage.upkeep import repair

    folder = _folder(config, assignments)
    done = repair(folder)
    if as_json:
        print_json({"store": str(folder), **asdict(done)})
        return
    if done.moved:
        say(f"  {done.moved} damaged lines moved to damaged.jsonl; mode record asks for them again")
    say(f"{plain(str(folder))}: {done.answers} answers, {done.failures} failures, all sound")


@store.command("prune")
@click.option("--older-than", metavar="AGE", help="Stored longer ago than this: 90m, 12h, 30d, 8w.")
@click.option("--task", help="Of this task, e.g. ens.")
@click.option("--template", help="Asked with this prompt template, e.g. ens/v1.")
@click.option("--model", help="Of this model, as the settings or its identity name it.")
@click.option("--failures", is_flag=True, help="Failures only; mode record asks for those again anyway.")
@click.option("--yes", is_flag=True, help="Remove them; without this they are only listed.")
@with_settings
@with_json
def prune(
    older_than: str | None,
    task: str | None,
    template: str | None,
    model: str | None,
    failures: bool,
    yes: bool,
    config: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Remove entries to which every given option applies, for good. Lists them; removes only with --yes."""
    from ants_engine.dispatch.storage.entry import Entry
    from ants_engine.dispatch.storage.store import ResponseStore
    from ants_engine.dispatch.storage.upkeep import Selection, select

    folder = _folder(config, assignments)
    before = None if older_than is None else time.time() - _age(older_than)
    selection = Selection(before, task, template, model, failures)
    if selection.names_nothing:
        raise click.UsageError("say what may go: --older-than, --task, --template, --model or --failures")

    async def run() -> tuple[list[Entry], int]:
        # Strict: to prune is not to repair, and what is damaged stays as it is.
        async with ResponseStore(folder, strict=True) as store:
            entries = [entry async for entry in select(store, selection)]
        if not yes or not entries:
            return entries, 0
        async with ResponseStore(folder) as store:
            return entries, await store.remove([entry.request.key for entry in entries])

    entries, removed = asyncio.run(run())
    if as_json:
        keys = [entry.request.key for entry in entries]
        print_json({"store": str(folder), "selected": keys, "removed": removed})
        return
    for entry in entries[:SHOWN]:
        request = entry.request
        say(f"  {request.key[:12]}…  {_moment(entry.stored_at or 0.0)}  {plain(request.describe())}")
    if len(entries) > SHOWN:
        say(f"  … and {len(entries) - SHOWN} more")
    size = sum(len(entry.to_line()) for entry in entries)
    if yes:
        say(f"{removed} entries removed ({size:,} bytes)")
    else:
        say(f"{len(entries)} entries would be removed ({size:,} bytes); add --yes to remove them")


def _folder(config: Path | None, assignments: tuple[str, ...]) -> Path:
    return settings_from(config, assignments).dispatch.store


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def _age(text: str) -> int:
    """Read an age in seconds."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if found is None:
        raise click.UsageError(f"--older-than {text!r}: write a number and m, h, d or w, e.g. 30d")
    return int(found[1]) * _UNITS[found[2]]
