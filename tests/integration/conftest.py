"""What the integration tests share: the embedded CLIP, pictures, and an MLLM that answers from a function."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.protocol import Call
from ants_engine.settings.config import ClipSettings

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "examples" / "emoji_world"
CLASSES = ["red apple", "dog face", "sailboat", "guitar"]


@pytest.fixture(scope="session")
def encoder() -> ClipEncoder:
    """The embedded CLIP, loaded once."""
    return ClipEncoder.load(ClipSettings(model=str(WORLD / "clip"), batch_size=8))


@pytest.fixture(scope="session")
def images() -> list[Image.Image]:
    """Forty small pictures of seeded shapes."""
    rng = np.random.default_rng(7)
    made = []
    for _ in range(40):
        image = Image.new("RGB", (72, 64), tuple(rng.integers(0, 255, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for _ in range(4):
            left, top, width, height = rng.integers(0, 40, 4).tolist()
            draw.ellipse((left, top, left + width + 4, top + height + 4), fill=tuple(rng.integers(0, 255, 3).tolist()))
        made.append(image)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Settings for a small detector: every picture is a candidate, everything is kept below ``tmp_path``."""
    return small_settings(tmp_path)


def small_settings(folder: Path) -> dict[str, Any]:
    """The same below another folder, for what several tests share."""
    lexicon = folder / "lexicon.txt"
    words = ["table", "wheel", "house", "stone", "river", "lamp", "shoe", "window"]
    lexicon.write_text("".join(f"{word}\tnoun\n" for word in words) + "green\tadjective\nbig\tadjective\n")
    return {
        "clip": {"model": str(WORLD / "clip"), "batch_size": 8},
        "lexicon": {"source": str(lexicon)},
        "neglabel": {"groups": 3, "min_group_length": 3},
        "mining": {"gamma": 1.0},
        "mllm": {"backend": "scripted"},
        "dispatch": {"store": str(folder / "store"), "attempts": 1, "runs": None, "grace": 0.5},
        "text": {"feature_cache": None},
        "progress": {"bar": "off"},
    }


OBJECTS = ["lamp", "tower", "carpet", "river", "wheel", "cloud", "bottle", "mask", "ladder", "kettle", "tent", "shell"]


def describe(call: Call) -> str:
    """Answer as an MLLM might: a sentence that depends on the picture, or five names that depend on the class."""
    if call.picture is not None:
        number = int(call.picture.sha256[:8], 16)
        return f"A {OBJECTS[number % 12]} beside a {OBJECTS[number // 12 % 12]}."
    number = hashlib.sha256(call.prompt.encode()).digest()
    return "\n".join(f"{i + 1}. {OBJECTS[number[i] % 12]} {OBJECTS[number[i + 5] % 12]}" for i in range(5))


@pytest.fixture
def mllm() -> ScriptedBackend:
    """A fresh MLLM that answers at once and counts its calls."""
    return ScriptedBackend.from_callable(describe)


def shuffled_mllm(seed: int) -> ScriptedBackend:
    """An MLLM whose answers come in another order for every seed."""
    rng = np.random.default_rng(seed)

    async def answer(call: Call) -> str:
        await asyncio.sleep(float(rng.uniform(0, 0.03)))
        return describe(call)

    return ScriptedBackend.from_callable(answer)
