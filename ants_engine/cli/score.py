"""``ants score``: score pictures with a saved detector."""

import asyncio
from pathlib import Path

import click

from ants_engine.cli.options import (
    load_frozen,
    open_pictures,
    overrides,
    print_scores,
    with_assignments,
    with_json,
    with_pictures,
)
from ants_engine.cli.output import print_json, say


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@with_pictures(required=True)
@with_assignments
@with_json
def score(detector: Path, images: tuple[str, ...], assignments: tuple[str, ...], as_json: bool) -> int:
    """Score IMAGES (files, folders and quoted globs, in any mix) with the DETECTOR folder."""
    from ants_engine.learning.preflight import check_detector

    check_detector(detector)
    keywords = overrides(assignments)
    pictures = open_pictures(images)
    scores = asyncio.run(load_frozen(detector, keywords).score(pictures))
    if as_json:
        print_json(scores.to_dict())
    else:
        say(f"{'id_score':>8}  {'verdict':<24}  picture      (threshold {scores.threshold:.3f})")
        print_scores(scores)
    return 3 if scores.failures else 0


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("image")
@click.option("--top", default=3, show_default=True, help="Texts shown per kind.")
@with_assignments
@with_json
def explain(detector: Path, image: str, top: int, assignments: tuple[str, ...], as_json: bool) -> None:
    """Say which classes and negative texts are nearest to IMAGE, and where each text came from."""
    from ants_engine.clip.decode import check_there
    from ants_engine.common.terminal_text import plain_parts
    from ants_engine.learning.preflight import check_detector

    check_detector(detector)
    keywords = overrides(assignments)
    check_there(image)
    why = load_frozen(detector, keywords).explain(image, top=top)
    if as_json:
        print_json(why.to_dict())
    else:
        say(str(plain_parts(why)))
