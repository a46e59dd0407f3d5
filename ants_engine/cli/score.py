"""``ants score``: score pictures with a saved detector."""

import asyncio
from pathlib import Path

import click

from ants_engine.cli.options import load_frozen, print_scores, with_assignments, with_json
from ants_engine.cli.say import print_json, say


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("images", nargs=-1, required=True)
@with_assignments
@with_json
def score(detector: Path, images: tuple[str, ...], assignments: tuple[str, ...], as_json: bool) -> int:
    """Score IMAGES (files, one folder, or one quoted glob) with the DETECTOR folder."""
    ants = load_frozen(detector, assignments)
    scores = asyncio.run(ants.score(images[0] if len(images) == 1 else list(images)))
    if as_json:
        print_json(scores.to_dict())
    else:
        say(f"{'id_score':>8}  {'verdict':<24}  picture      (threshold {scores.threshold:.3f})")
        print_scores(scores)
    return 3 if scores.failures else 0
