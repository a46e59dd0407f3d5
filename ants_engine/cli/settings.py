"""``ants settings``: the settings as they stand after all sources are merged."""

from pathlib import Path

import click

from ants_engine.cli.options import settings_from, with_settings
from ants_engine.cli.say import print_json


@click.command()
@with_settings
def settings(config: Path | None, assignments: tuple[str, ...]) -> None:
    """Print every setting with its value, as JSON, after file, environment and --set."""
    print_json(settings_from(config, assignments).model_dump(mode="json"))
