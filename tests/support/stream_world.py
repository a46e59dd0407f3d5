"""A small world for tests of streams: given features, numbered pictures, and an MLLM that answers from what it sees."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ants_engine import ANTS, Scores
from ants_engine.backends.scripted import AnswerFunction, ScriptedBackend, Shows, verify_or_describe
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.protocol import Answer, Call
from tests.golden.stream_fixture import number_of

DIM = 12
CLASSES = ("cat", "dog", "owl", "newt", "crab", "moth")
NEGATIVES = tuple(f"thing {number}" for number in range(30))
SCALE = 12.0
COLUMNS = ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted")

SHARED = {"dispatch": {"mode": "live", "attempts": 1}, "progress": {"bar": "off"}, "text": {"feature_cache": None}}
PAPER: dict[str, Any] = {
    **SHARED,
    "neglabel": {"groups": 3, "min_group_length": 10},
    "mining": {"gamma": 0.8},
    "vsnl": {"min_classes": 2, "delta": 0.3},
}
REFERENCE: dict[str, Any] = {
    **SHARED,
    "preset": "reference",
    "mining": {"min_waiting": 5},
    "ens": {"max_updates": 6},
    "vsnl": {"max_classes": 3, "start_batch": 2, "interval": 3},
    "scoring": {"in_score": "ada", "group_length": 10},
}
PRESETS = {"paper": PAPER, "reference": REFERENCE}
ENGINE: dict[str, Any] = {
    **PAPER,
    "preset": "engine",
    "mining": {"gamma": 0.9, "describe_least": 2},
    "threshold": {"questions": 400},
}
"""With so many questions the judge is asked about enough of a hundred pictures."""


def changed(settings: dict[str, Any], **stages: dict[str, Any]) -> dict[str, Any]:
    """Return settings with some stages' values replaced."""
    return {**settings, **{name: {**settings.get(name, {}), **values} for name, values in stages.items()}}


def text_feature(text: str) -> torch.Tensor:
    """Return a unit vector (D,) that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
    raw = torch.randn(DIM, generator=torch.Generator().manual_seed(seed))
    return raw / raw.norm()


def text_features(texts: Sequence[str]) -> torch.Tensor:
    """Return (K, D): a text encoder."""
    return torch.stack([text_feature(text) for text in texts]) if len(texts) else torch.empty(0, DIM)


def given_encoder() -> GivenEncoder:
    """Return an encoder that always gives the same."""
    return GivenEncoder(text_features, DIM, logit_scale=SCALE)


def class_texts() -> list[str]:
    """Return what stands for the classes."""
    return [f"The nice {name}." for name in CLASSES]


def picture_features(count: int, seed: int = 0, foreign: float = 0.5) -> NDArray[np.float32]:
    """Return (count, D) features, a share of them near no class; most classes become frequent one after the other."""
    return pictures_of(count, seed, foreign)[0]


def pictures_of(
    count: int, seed: int = 0, foreign: float = 0.5, noise: float = 0.25
) -> tuple[NDArray[np.float32], list[str | None]]:
    """Return the same features, and per picture the class that it shows, or None."""
    rng = np.random.default_rng(seed)
    known, unknown = text_features(class_texts()).numpy(), text_features(NEGATIVES).numpy()
    rows, shown = [], list[str | None]()
    for number in range(count):
        phase = number * len(CLASSES) // max(1, count)
        row = (phase + rng.integers(0, 3)) % len(CLASSES)
        centre = known[row]
        is_known = not rng.random() < foreign
        if not is_known:
            centre = unknown[rng.integers(0, len(unknown))]
        rows.append(centre + rng.normal(0, noise, DIM))
        shown.append(CLASSES[row] if is_known else None)
    features = np.asarray(rows, dtype=np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True), shown


def answer(call: Call) -> str:
    """Say what an MLLM might: of a picture by its number, of a class by its name."""
    if call.picture is not None:
        number = number_of(call)
        return f"a grey kettle of kind {number % 23}."
    name = next(name for name in CLASSES if f'"{name}"' in call.prompt)
    number = CLASSES.index(name)
    return "\n".join(f"{place}. gadget {(3 * number + place) % 13}" for place in range(1, 6))


def mllm(**options: Any) -> ScriptedBackend:
    """Return an MLLM that answers at once."""
    return ScriptedBackend.from_callable(answer, ScriptedBackend.Options(**options))


def verifying(shown: Sequence[str | None], *, yes: float = 1.0, false_yes: float = 0.0) -> AnswerFunction:
    """Return what an MLLM says that verifies or describes numbered pictures, with a judge's errors."""
    return verify_or_describe(
        lambda call: Shows(shown[number_of(call)], answer(call)), yes=yes, false_yes=false_yes, without_picture=answer
    )


def verifying_mllm(shown: Sequence[str | None], *, yes: float = 1.0, false_yes: float = 0.0) -> ScriptedBackend:
    """Return that MLLM, answering at once."""
    return ScriptedBackend.from_callable(verifying(shown, yes=yes, false_yes=false_yes))


def unruly_mllm(seed: int, said: AnswerFunction = answer) -> ScriptedBackend:
    """Return an MLLM whose answers come in a random order: every question lets a random one of those that wait go."""
    rng = random.Random(seed)
    waiting: list[asyncio.Future[None]] = []

    def release() -> None:
        chosen = waiting.pop(rng.randrange(len(waiting)))
        if not chosen.done():
            chosen.set_result(None)

    async def late(call: Call) -> str | Answer:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        waiting.append(turn)
        if rng.random() < 0.5:
            loop.call_soon(release)
        else:
            loop.call_later(rng.uniform(0.0, 0.004), release)
        await turn
        found = said(call)
        return found if isinstance(found, str | Answer) else await found

    return ScriptedBackend.from_callable(late, ScriptedBackend.Options(max_concurrency=rng.choice([1, 2, 8, 64])))


def cold(settings: dict[str, Any], backend: ScriptedBackend | None = None) -> ANTS:
    """Return a detector that has seen no picture."""
    return ANTS.from_features(
        CLASSES,
        text_features(class_texts()),
        negative_features=text_features(NEGATIVES),
        negative_texts=NEGATIVES,
        text_encoder=given_encoder(),
        backend=backend or mllm(),
        config=settings,
    )


def write_lexicon(folder: Path) -> Path:
    """Write the negatives as a lexicon."""
    path = folder / "lexicon.txt"
    path.write_text("".join(f"{text}\tnoun\n" for text in NEGATIVES))
    return path


def bits(scores: Scores) -> tuple[Any, ...]:
    """Return everything of a batch that must not depend on when the MLLM answers."""
    adaptation = scores.adaptation
    assert adaptation is not None
    told = {name: value for name, value in asdict(adaptation).items() if name != "waited"}
    columns = tuple(getattr(scores, name).tobytes() for name in COLUMNS)
    return (*columns, scores.weight, scores.threshold, tuple(sorted(scores.failures)), tuple(sorted(told.items())))


async def run(ants: ANTS, images: Any, features: Any, **options: Any) -> list[tuple[Any, ...]]:
    """Stream everything; return the `bits` of every batch."""
    return [bits(scores) async for scores in ants.stream(images, features=features, **options)]


def one_by_one(images: Iterable[Any]) -> Iterable[Any]:
    """Give copies of pictures that nobody else keeps."""
    return (np.array(image) for image in images)


async def arriving(images: Iterable[Any]) -> AsyncIterable[Any]:
    """Give copies of pictures as they arrive."""
    for image in images:
        await asyncio.sleep(0)
        yield np.array(image)
