"""``ants backends``: which MLLM backends are installed."""

import click

from ants_engine.cli.options import with_json
from ants_engine.cli.say import print_json, say


@click.command()
@with_json
def backends(as_json: bool) -> None:
    """List the installed backends and their settings."""
    from ants_engine.dispatch.backend_registry import available, load_backend_class

    found = {}
    for name in available():
        options = load_backend_class(name).Options
        found[name] = {key: str(field.annotation).replace("typing.", "") for key, field in options.model_fields.items()}
    if as_json:
        print_json(found)
        return
    for name, fields in found.items():
        say(name)
        for key, kind in fields.items():
            say(f"  mllm.{key}: {kind.removeprefix('<class ').strip(chr(39) + '>')}")
