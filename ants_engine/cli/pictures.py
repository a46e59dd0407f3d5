"""The pictures that a command is given: its arguments, and ``--list``."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ants_engine.cli.say import say
from ants_engine.common.terminal_text import plain

if TYPE_CHECKING:
    from ants_engine.clip.sources import ImageStream

F = TypeVar("F", bound=Callable[..., Any])


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
