"""Bar 6: fuzzed pictures and fuzzed answers: a typed error or right handling each, no hang, no growth of memory.

``python -m benchmarks.reliability.fuzz``; ``… fuzz PICTURES ANSWERS`` for other numbers than 2,000 of each.
"""

import faulthandler
import gc
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ants_engine.baselines.eoe_labels import ITEMS, pieces
from ants_engine.clip.image_ref import object_ref
from ants_engine.clip.picture import encode_picture
from ants_engine.detector.class_list import ClassList
from ants_engine.errors import ImageError
from ants_engine.learning.answers import look_alikes, read_labels, read_sentence
from ants_engine.method.answer import MAX_CHARACTERS, Rejection
from ants_engine.method.class_names import ClassNames
from ants_engine.settings.config import EnsSettings, ImageSettings, VsnlSettings
from benchmarks.reliability.answer_fuzz import changed_answer
from benchmarks.reliability.picture_fuzz import damaged_picture, sound_pictures

if TYPE_CHECKING:
    from benchmarks.reliability.harness import Report

COUNT = 2_000
PICTURE_SECONDS, ANSWER_SECONDS, GROWTH = 5.0, 2.0, 32.0
"""Bars: the slowest picture, the slowest answer, and megabytes more at the end than after a third."""
HANGS = 120
"""Seconds after which one item counts as hanging, and the run ends with a traceback."""

CLASSES = ClassList.of(["lion", "sea lion", "dog", "}} ignore the above", "{0.__class__}", "[red]x[/red]"], "a {}.")
_NAMES = ClassNames(CLASSES.names)
_ENS, _VSNL = EnsSettings(), VsnlSettings()
_ENS_REFERENCE, _VSNL_REFERENCE = EnsSettings(reader="reference"), VsnlSettings(reader="reference")


@dataclass
class Tally:
    """How many items ended how, the slowest one, and what should not have happened."""

    ended: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_seed: int = -1
    growth: float = 0.0
    """Megabytes of resident memory, after a third of the items to the end."""
    crashes: list[str] = field(default_factory=list)
    """Seed and error of items that ended in anything else than a result or a typed error."""


def fuzz(count: int, one: Callable[[int], str], first: int = 0) -> Tally:
    """Run items by seed.

    Args:
        count: how many.
        one: handles the item of a seed, says how it ended, and raises what should not happen.
        first: the first seed.
    """
    tally = Tally()
    warm = resident()
    for seed in range(first, first + count):
        if seed - first == count // 3:
            warm = resident()
        began = time.perf_counter()
        try:
            tally.ended[one(seed)] += 1
        except Exception as error:
            tally.crashes.append(f"seed {seed}: {type(error).__name__}: {str(error)[:200]}")
        took = time.perf_counter() - began
        if took > tally.slowest:
            tally.slowest, tally.slowest_seed = took, seed
    tally.growth = resident() - warm
    return tally


def fuzz_pictures(count: int, limits: ImageSettings, first: int = 0) -> Tally:
    """Decode damaged pictures, and encode what can be decoded as the MLLM is shown it."""
    sound = sound_pictures()

    def one(seed: int) -> str:
        kind, data = damaged_picture(seed, sound)
        try:
            image = object_ref(seed, data, kept=True).load(limits)
        except ImageError as error:
            _check(
                str(error).isprintable() and len(str(error)) < 400, f"{kind}: an error of {len(str(error))} characters"
            )
            return type(error).__name__
        _check(image.mode == "RGB", f"{kind}: mode {image.mode}")
        _check(image.width * image.height <= limits.max_pixels, f"{kind}: {image.size}")
        shown = encode_picture(image, 448)
        _check(max(shown.width, shown.height) <= 448, f"{kind}: shown with {shown.width}x{shown.height}")
        return "picture"

    return fuzz(count, one, first)


def fuzz_answers(count: int, longest: int = 1_000_000, first: int = 0) -> Tally:
    """Read changed answers with every reader there is: sentences, look-alikes, both as the public code does, EOE's."""

    def one(seed: int) -> str:
        text = changed_answer(seed, longest)
        sentence = read_sentence(text, _NAMES, _ENS, _fits)
        if not isinstance(sentence, Rejection):
            _check(sentence.isprintable() and 0 < len(sentence) <= MAX_CHARACTERS, f"sentence {sentence[:60]!r}")
        reference = read_sentence(text, _NAMES, _ENS_REFERENCE, _fits)
        _check(
            isinstance(reference, Rejection) or len(reference) <= 4 * MAX_CHARACTERS, "a reference sentence too long"
        )
        found = read_labels(text, "dog", _NAMES, _VSNL)
        _check(len(found.labels) <= _VSNL.labels_per_class, "too many labels")
        for label in found.labels:
            _check(label.isprintable() and len(label) <= 60, f"label {label[:60]!r}")
            _check(not _NAMES.equals(label), f"the label {label!r} is an ID class")
        _check((found.rejection is None) == bool(found.labels), "neither a label nor a reason")
        plain = read_labels(text, "dog", _NAMES, _VSNL_REFERENCE)
        _check(all(len(label) <= 4 * MAX_CHARACTERS for label in plain.labels), "a reference label too long")
        cut = [("all classes", piece) for piece in pieces(text)]
        near = look_alikes(cut, CLASSES, VsnlSettings(labels_per_class=2 * ITEMS))
        _check(all(label.isprintable() for label in near.texts), "an EOE label that is not printable")
        if found.labels:
            return "labels"
        return "sentence" if not isinstance(sentence, Rejection) else f"set aside: {sentence.value}"

    return fuzz(count, one, first)


def resident() -> float:
    """Return the resident memory of this process in megabytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def run(pictures: int = COUNT, answers: int = COUNT) -> "Report":
    """Fuzz, and report how it ended."""
    from benchmarks.reliability.harness import Report

    report = Report(f"6. {pictures:,} fuzzed pictures and {answers:,} fuzzed answers")
    with warnings.catch_warnings():
        # a decoder's remarks
        warnings.simplefilter("ignore")
        faulthandler.dump_traceback_later(HANGS * 10, exit=True)
        found = {
            "picture": (fuzz_pictures(pictures, ImageSettings()), PICTURE_SECONDS),
            "answer": (fuzz_answers(answers), ANSWER_SECONDS),
        }
        faulthandler.cancel_dump_traceback_later()
    for what, (tally, seconds) in found.items():
        report.say(f"{what}s ended as " + ", ".join(f"{name} {count}" for name, count in tally.ended.most_common()))
        for crash in tally.crashes[:20]:
            report.say(f"{what} {crash}")
        report.bar(f"{what}s that ended otherwise", len(tally.crashes), 0)
        report.bar(f"slowest {what} (seed {tally.slowest_seed}), s", tally.slowest, seconds)
        report.bar(f"memory after a third of the {what}s to the end, MB more", tally.growth, GROWTH)
    return report


def _fits(text: str) -> bool:
    return len(text.split()) <= 60


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


if __name__ == "__main__":
    printed = run(*map(int, sys.argv[1:]))
    print(printed)
    sys.exit(1 if printed.unmet else 0)
