"""Printing: what a command says reaches the terminal as text only."""

import json
from typing import Any

import click

from ants_engine.common.terminal_text import plain_json, plain_lines

__all__ = ["print_json", "say"]


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
