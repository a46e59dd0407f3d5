"""Printing: what a command says reaches the terminal as text only."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from ants_engine.common.terminal_text import plain, plain_json, plain_lines

if TYPE_CHECKING:
    from ants_engine.method.metrics import FprConvention


def say(text: str, *, err: bool = False, newline: bool = True) -> None:
    """Print text, its control, direction and invisible characters spelled out; line ends stay.

    A part that must not break its line (a name, an error) goes through `ants_engine.common.terminal_text.plain` before.

    Args:
        text: what to print.
        err: to stderr.
        newline: end the line.
    """
    click.echo(plain_lines(text), err=err, nl=newline)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print one JSON document; with ``indent=None`` on one line."""
    click.echo(plain_json(json.dumps(value, ensure_ascii=False, indent=indent)))


WIDTH = 120

CONVENTIONS: "dict[FprConvention, str]" = {
    "openood": "ID that raises a false alarm while 95 % of OOD is caught",
    "id_positive": "OOD let through while 95 % of ID is kept",
}
"""What FPR95 is in each convention."""


def render_table(
    title: str, columns: Sequence[str], sections: Iterable[Iterable[Sequence[str]]], *, left: int = 1
) -> str:
    """Draw a table as text, its sections parted by a line.

    Args:
        title: written above it.
        columns: headings.
        sections: rows by section.
        left: how many columns are text, set to the left; the others are numbers, set to the right.
    """
    from rich.console import Console
    from rich.table import Table

    # cells are texts: not markup, nor names of emoji, nor what a terminal acts on
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(plain(column), justify=justify, no_wrap=number >= left)
    for section in sections:
        for row in section:
            table.add_row(*map(plain, row))
        table.add_section()
    console = Console(width=WIDTH, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def over_seeds(count: int) -> str:
    """Return what a title says of several seeds."""
    return f", mean ± standard deviation over {count} seeds" if count > 1 else ""
