"""``ants score`` and ``ants calibrate``: pictures and a saved detector."""

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


@click.command()
@click.argument("detector", type=click.Path(exists=True, file_okay=False, path_type=Path))
@with_pictures(required=True)
@click.option("--false-alarms", type=float, help="Share of known pictures that may be called unknown; 0.05 by default.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Save to this folder, not back to DETECTOR.")
@with_assignments
@with_json
def calibrate(
    detector: Path,
    images: tuple[str, ...],
    false_alarms: float | None,
    out: Path | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> int:
    """Set the threshold of the DETECTOR folder with IMAGES that are known to be of its classes, and save it.

    The pictures must not be those that it was built on. 5 % of false alarms take 19 pictures; some hundreds do better.
    """
    from ants_engine.learning.preflight import check_detector, check_detector_out

    check_detector(detector)
    keywords = overrides(assignments)
    pictures = open_pictures(images)
    check_detector_out(out or detector)
    ants = load_frozen(detector, keywords)
    before = ants.threshold
    asyncio.run(ants.calibrate(pictures, false_alarms=false_alarms))
    ants.save(out or detector)
    calibration = ants.detector.calibration
    count = 0 if calibration is None else len(calibration.features)
    rate = 0.0 if calibration is None else calibration.false_alarms
    if as_json:
        print_json(
            {"detector": str(out or detector), "threshold": ants.threshold, "pictures": count, "false_alarms": rate}
        )
    else:
        say(
            f"threshold {ants.threshold:.3f} (before: {before:.3f}), from {count} known pictures: "
            f"at most {100 * rate:g} % of known pictures are called unknown"
        )
        say(f"saved to {out or detector}")
    return 0
