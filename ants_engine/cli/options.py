"""Options and output that several commands share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ants_engine.cli.say import print_json, say
from ants_engine.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine.config import Settings
    from ants_engine.scores import Scores

__all__ = [
    "assigned", "overrides", "parse_seeds", "print_json", "print_scores", "read_classes", "settings_from",
    "split_names", "with_assignments", "with_json", "with_settings",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def with_assignments(function: F) -> F:
    """Add ``--set``."""
    return click.option(
        "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. mllm.backend=openai."
    )(function)


def with_settings(function: F) -> F:
    """Add ``--config`` and ``--set``."""
    return click.option(
        "--config", type=click.Path(exists=True, path_type=Path), help="An ants.toml, or the folder that holds one."
    )(with_assignments(function))


def with_json(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def assigned(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Turn ``--set`` options into nested keywords."""
    keywords: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {assignment!r}: write KEY=VALUE, e.g. mining.eta=0.4")
        place = keywords
        *stages, field = key.split(".")
        for stage in stages:
            place = place.setdefault(stage, {})
            if not isinstance(place, dict):
                raise click.UsageError(f"--set {assignment!r}: {stage} is already set to a plain value")
        try:
            place[field] = json.loads(text)
        except json.JSONDecodeError:
            place[field] = text
    return keywords


def overrides(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Turn ``--set`` options into keywords for `ANTS.load`, each checked by itself.

    Raises:
        SettingError: there is no such setting, or a value does not fit.
    """
    from ants_engine.settings_loader import load_settings

    keywords = assigned(assignments)
    load_settings(environment={}, **keywords)
    return keywords


def settings_from(config: Path | None, assignments: tuple[str, ...], **fixed: Any) -> "Settings":
    """Merge the settings file, the environment, ``--set``, and what the command itself fixes."""
    from ants_engine.settings_loader import load_settings

    keywords = assigned(assignments)
    for stage, values in fixed.items():
        keywords[stage] = {**keywords.get(stage, {}), **values}
    return load_settings(config, **keywords)


def read_classes(classes: str) -> list[str]:
    """Read class names from a file, one a line, or from a comma-separated list."""
    path = Path(classes)
    try:
        found = path.is_file()
    except OSError:
        # longer than any file's name: a class name, of which the engine says whether it fits
        found = False
    if found:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise click.UsageError(f"--classes {classes}: not UTF-8; save the file as UTF-8") from None
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if path.suffix and "," not in classes:
        raise click.UsageError(f"--classes {classes}: no such file")
    return [name.strip() for name in classes.split(",")]


def print_scores(scores: "Scores") -> None:
    """Print one line a picture: its score, the verdict and its name."""
    for row, one in enumerate(scores):
        if row in scores.failures:
            say(f"{'–':>8}  {'unreadable':<24}  {plain(str(scores.failures[row]))}")
        else:
            verdict = "outlier" if one.is_outlier else plain(str(one.predicted_class))
            say(f"{one.id_score:8.3f}  {verdict:<24}  {plain(one.name)}")


def split_names(text: str) -> list[str]:
    """Split at commas; what is blank is left out."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_seeds(text: str) -> list[int]:
    """Read seeds: ``0``, or ``0,3``, or ``0-4`` for 0 to 4.

    Raises:
        click.UsageError: it is of no such form, a range is empty, or a seed is named twice.
    """
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) != len(seeds):
        raise click.UsageError(f"--seeds {text!r}: write 0, or 0,3, or 0-4, each seed once")
    return seeds
