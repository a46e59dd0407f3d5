"""Options and output that several commands share."""

import json
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ants_engine.cli.output import say
from ants_engine.common.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine.ants import ANTS
    from ants_engine.clip.sources import ImageStream
    from ants_engine.detector.scores import Scores
    from ants_engine.settings.config import Settings


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
    from ants_engine.settings.loader import load_settings

    keywords = assigned(assignments)
    load_settings(environment={}, **keywords)
    return keywords


def load_frozen(detector: Path, keywords: dict[str, Any], shown: tuple[str, ...] = ()) -> "ANTS":
    """Load a detector for a command that does not adapt it.

    Args:
        detector: its folder.
        keywords: of `overrides`; those that only streams use are named on stderr.
        shown: stages that the command itself has a use for.
    """
    # only here what takes seconds to import
    from ants_engine import ANTS

    ants = ANTS.load(detector, **keywords)
    note_unused({stage: values for stage, values in keywords.items() if stage not in shown})
    return ants


def note_unused(keywords: dict[str, Any]) -> None:
    """Say which settings only streams use, where nothing is streamed."""
    from ants_engine.settings.uses import named, used_by_streams_only

    unused = used_by_streams_only(named(keywords))
    if unused:
        say(f"note: only streams use {plain(', '.join(unused))}; nothing is streamed here", err=True)


def settings_from(config: Path | None, assignments: tuple[str, ...], **fixed: Any) -> "Settings":
    """Merge the settings file, the environment, ``--set``, and what the command itself fixes."""
    from ants_engine.dispatch.backend_registry import check_option_names
    from ants_engine.settings.loader import load_settings

    keywords = assigned(assignments)
    for stage, values in fixed.items():
        keywords[stage] = {**keywords.get(stage, {}), **values}
    settings = load_settings(config, **keywords)
    if keywords.get("mllm"):
        # also where nothing is asked
        check_option_names(settings.mllm, settings.mllm.model_extra or ())
    return settings


def with_column(function: F) -> F:
    """Add ``--column``, which belongs to ``--classes``."""
    return click.option(
        "--column", metavar="NAME", help="With --classes FILE, a table: the column of the class names, or its number."
    )(function)


def read_classes(classes: str, column: str | None = None) -> list[str]:
    """Read class names from a file, or from a list with commas or in lines.

    Raises:
        click.UsageError: there is no such file, or it is a folder.
        ClassListError: the file cannot be read, or could be meant in several ways.
    """
    from ants_engine.detector.class_list import parse_class_text, read_class_file

    path = Path(classes)
    try:
        found, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError):
        # longer than any file's name: a class name, of which the engine says whether it fits
        found = is_folder = False
    if found:
        return read_class_file(path, column)
    # a class may be called as a folder that lies here is
    if is_folder and ("/" in classes or not re.search(r"\w", classes)):
        raise click.UsageError(f"--classes {classes}: a folder; give a file with one class name a line")
    if re.search(r"\.\w{1,8}$", classes) and not re.search(r"[,\n]", classes):
        raise click.UsageError(f"--classes {classes}: no such file")
    if column is not None:
        raise click.UsageError(f"--column {column}: --classes is no file")
    if "\n" in classes.strip() or classes.lstrip().startswith("["):
        return parse_class_text(classes, "--classes")
    names = [name.strip() for name in classes.split(",")]
    return names[:-1] if len(names) > 1 and not names[-1] else names


def print_scores(scores: "Scores") -> None:
    """Print one line a picture: its score, the verdict and its name."""
    for row, one in enumerate(scores):
        if one.verdict == "unreadable":
            say(f"{'–':>8}  {one.verdict:<24}  {plain(str(scores.failures[row]))}")
        else:
            said = one.verdict if one.verdict == "unknown" else plain(str(one.predicted_class))
            say(f"{one.id_score:8.3f}  {said:<24}  {plain(one.name)}")


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


def with_pictures(*, required: bool, metavar: str | None = None, classes: bool = False) -> Callable[[F], F]:
    """Add the argument ``images``, ``--list`` and ``--list-column``; the command is given all of it as ``images``.

    Args:
        required: there must be a picture.
        metavar: what the argument is called in the help.
        classes: the command has a table of classes too, whose column ``--column`` is; elsewhere it is the list's.
    """
    names = ("--list-column",) if classes else ("--column", "--list-column")

    def add(function: F) -> F:
        @wraps(function)
        def merged(
            *arguments: Any, images: tuple[str, ...], listed: Path | None, list_column: str | None, **rest: Any
        ) -> Any:
            if listed is not None:
                from ants_engine.clip.folder import read_picture_list

                images = (*images, *read_picture_list(listed, list_column, names[0]))
            elif list_column is not None:
                raise click.UsageError(f"{names[0]} names a column of a table: name its file with --list")
            if required and not images:
                raise click.UsageError("Missing pictures: name files, folders or quoted globs, or --list FILE")
            return function(images=images, **rest)

        column = click.option(*names, "list_column", metavar="NAME", help="The column of paths in a CSV or TSV --list.")
        option = click.option(
            "--list",
            "listed",
            metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="More pictures: a path a line, or a CSV or TSV with a header; from its own folder on.",
        )
        argument = click.argument("images", nargs=-1, metavar=metavar)
        return argument(option(column(merged)))  # type: ignore[return-value]

    return add


def open_pictures(images: tuple[str, ...]) -> "ImageStream | None":
    """Find what the command was given, and say what was left out of folders; None for nothing at all.

    Raises:
        NoImagesError: a folder or a pattern has no picture, or there is no such file.
    """
    if not images:
        return None
    from ants_engine.clip.sources import open_images

    stream = open_images(images[0] if len(images) == 1 else list(images))
    stream.refuse_gone()
    if stream.note is not None:
        say(plain(stream.note), err=True)
    return stream
