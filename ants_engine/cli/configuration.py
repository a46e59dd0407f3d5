"""``ants settings``: the settings as they stand after all sources are merged."""

from pathlib import Path

import click

from ants_engine.cli.options import settings_from, with_json, with_settings
from ants_engine.cli.output import print_json, say
from ants_engine.common.terminal_text import plain, plain_parts


@click.command()
@with_settings
def settings(config: Path | None, assignments: tuple[str, ...]) -> None:
    """Print every setting with its value, as JSON, after file, environment and --set."""
    print_json(settings_from(config, assignments).model_dump(mode="json"))


@click.group()
def prompts() -> None:
    """List and show prompt templates."""


@prompts.command("list")
@with_settings
@with_json
def list_templates(config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """List the templates, a user's folder first."""
    from ants_engine.dispatch.prompt_template import TemplateLibrary

    entries = TemplateLibrary(settings_from(config, assignments).prompts.folder).list()
    if as_json:
        print_json(
            [{"template": entry.ref, "origin": entry.origin, "description": entry.description} for entry in entries]
        )
        return
    for entry in plain_parts(entries):
        say(f"{entry.ref:<10} {entry.description}  ({entry.origin})")


@prompts.command("show")
@click.argument("template")
@with_settings
@with_json
def show_template(template: str, config: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Show one TEMPLATE, e.g. ens/v1."""
    from ants_engine.dispatch.prompt_template import TemplateLibrary

    found = TemplateLibrary(settings_from(config, assignments).prompts.folder).load(template)
    facts = {"template": found.ref, "sha256": found.sha256, "good_at": found.file.good_at, "prompt": found.file.prompt}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        # a prompt has lines of its own
        say(f"{key}: {value if key == 'prompt' else plain(value)}")


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
