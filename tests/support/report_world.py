"""Detectors and reports for tests of the page: small ones that have learned from a stream, hostile ones, large ones."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.protocol import Call
from tests.support.stream_world import DIM, NEGATIVES, PAPER, SCALE, text_features

HOSTILE = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "<!--<script>",
    "line\u2028and paragraph\u2029",
    "{{ 7 * 7 }} {% raw %}",
    '=HYPERLINK("http://x")',
    "&lt;b&gt; & café \u202eright to left",
)
PLAIN = ("cat", "dog", "owl", "newt", "crab", "moth", "wren", "toad")


def pictures(count: int, kinds: int = 40) -> list[Image.Image]:
    """Return small pictures of a few dozen kinds."""
    rng = np.random.default_rng(3)
    made = [Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((48, 48)) for _ in range(kinds)]
    return [made[i % kinds] for i in range(count)]


def picture_files(folder: Path, count: int) -> list[str]:
    """Write pictures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.png" for number in range(count)]
    for path, picture in zip(paths, pictures(count), strict=True):
        picture.save(path)
    return [str(path) for path in paths]


def features(count: int, classes: tuple[str, ...], seed: int = 0) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return (count, DIM) features, near a class or near none in turn, and their labels."""
    rng = np.random.default_rng(seed)
    known = text_features([f"The nice {name}." for name in classes]).numpy()
    unknown = text_features(NEGATIVES).numpy()
    rows, labels = [], []
    for number in range(count):
        if number % 2:
            rows.append(unknown[rng.integers(0, len(unknown))] + rng.normal(0, 0.22, DIM))
            labels.append("near" if number % 4 == 1 else "far")
        else:
            index = int(rng.integers(0, len(classes)))
            rows.append(known[index] + rng.normal(0, 0.22, DIM))
            labels.append(classes[index])
    made = np.asarray(rows, dtype=np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True), labels


def detector(classes: tuple[str, ...] = PLAIN, said: tuple[str, ...] = (), store: Path | None = None) -> ANTS:
    """Return a cold detector whose MLLM says one of ``said``, or names things; which, the question alone decides."""

    async def answer(call: Call) -> str:
        await asyncio.sleep(0.002)
        shown = "" if call.picture is None else call.picture.sha256
        number = int.from_bytes(hashlib.sha256(f"{call.prompt}\0{shown}".encode()).digest()[:4])
        words = said[number % len(said)] if said else "grey kettle"
        if call.picture is not None:
            return f"a {words} of kind {number % 19}"
        return "\n".join(f"{place}. {words} {(number + place) % 11}" for place in range(1, 5))

    runs = None if store is None else store / "runs"
    # a mapping: names in a list that are markup are taken for an accident and refused
    return ANTS.from_features(
        {name: f"The nice {name}." for name in classes},
        text_features([f"The nice {name}." for name in classes]),
        negative_features=text_features(NEGATIVES),
        negative_texts=NEGATIVES,
        text_encoder=GivenEncoder(text_features, DIM, logit_scale=SCALE),
        backend=ScriptedBackend.from_callable(answer, ScriptedBackend.Options(max_concurrency=4)),
        config={**PAPER, "dispatch": {"mode": "live", "attempts": 1, "runs": runs}},
    )


async def taught(
    classes: tuple[str, ...] = PLAIN, said: tuple[str, ...] = (), store: Path | None = None, count: int = 120
) -> ANTS:
    """Return a detector that a stream has gone through."""
    ants = detector(classes, said, store)
    rows, _ = features(count, classes, seed=5)
    async for _ in ants.stream(pictures(count), features=rows, batch_size=20):
        pass
    return ants
