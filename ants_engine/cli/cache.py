"""``ants cache``: the response store, and cassettes made of it."""

import asyncio
from pathlib import Path

import click

from ants_engine.cli.options import print_json, settings_from, with_json, with_settings


@click.group()
def cache() -> None:
    """Export, import and count recorded answers."""


@cache.command("export")
@click.argument("cassette", type=click.Path(path_type=Path))
@with_settings
def export_cassette(cassette: Path, config: Path | None, assignments: tuple[str, ...]) -> None:
    """Write every recorded answer to CASSETTE, one readable line each."""
    from ants_engine.dispatch.cassette import export
    from ants_engine.dispatch.store import ResponseStore

    async def run() -> int:
        async with ResponseStore(settings_from(config, assignments).dispatch.store, strict=True) as store:
            return await export(store, cassette)

    click.echo(f"{asyncio.run(run())} answers written to {cassette}")


@cache.command("import")
@click.argument("cassette", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def import_cassette(cassette: Path, config: Path | None, assignments: tuple[str, ...]) -> None:
    """Add every answer of CASSETTE to the store; all of them, or none if the file is damaged."""
    from ants_engine.dispatch.cassette import import_
    from ants_engine.dispatch.store import ResponseStore

    async def run() -> int:
        async with ResponseStore(settings_from(config, assignments).dispatch.store) as store:
            return await import_(cassette, store)

    click.echo(f"{asyncio.run(run())} answers read from {cassette}")


@cache.command("stats")
@with_settings
@with_json
def stats(config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Count recorded answers by task."""
    from ants_engine.dispatch.store import ResponseStore

    folder = settings_from(config, assignments).dispatch.store

    async def run() -> dict[str, int]:
        counts: dict[str, int] = {}
        async with ResponseStore(folder, strict=True) as store:
            async for entry in store.entries():
                counts[entry.request.task] = counts.get(entry.request.task, 0) + 1
        return counts

    counts = asyncio.run(run())
    if as_json:
        print_json({"store": str(folder), "answers": counts})
        return
    click.echo(f"{folder}: {sum(counts.values())} answers")
    for task, count in sorted(counts.items()):
        click.echo(f"  {task}: {count}")
