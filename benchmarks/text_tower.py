"""Bar 3: lexicon entries and sentences through a text tower, beside open_clip's own `encode_text`."""

import random
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.lexicon.lexicon import SHIPPED, load_lexicon
from benchmarks.random_clip import MODEL, random_clip
from benchmarks.table import Row, machine, table

ENTRIES, SENTENCES = 10_000, 2_000
ROUNDS = 5
BATCHED, ALONE = 256, 32
"""Texts of each round that are also encoded open_clip's way: at full context, a text costs what any other costs."""
TOLERANCE = 1e-5


def texts(seed: int = 0) -> list[str]:
    """Return so many entries of the lexicon as prompts, and sentences of about eight words of it, in a random order."""
    lexicon, drawn = load_lexicon(SHIPPED), random.Random(seed)
    pairs = list(zip(lexicon.words, lexicon.kinds, strict=True))
    chosen = drawn.sample(pairs, ENTRIES)
    prompts = [f"The nice {word}." if kind == "noun" else f"This is a {word} photo." for word, kind in chosen]
    nouns = [word for word, kind in pairs if kind == "noun"]
    adjectives = [word for word, kind in pairs if kind == "adjective"]
    sentences = [
        f"A {drawn.choice(adjectives)} {drawn.choice(nouns)} beside a {drawn.choice(adjectives)} {drawn.choice(nouns)}"
        for _ in range(SENTENCES)
    ]
    mixed = prompts + sentences
    drawn.shuffle(mixed)
    return mixed


def run(rounds: int = ROUNDS) -> list[Row]:
    """Encode all texts once, a share of them in each round; the two other ways take turns with ours on the same texts.

    Tokenizing is part of all three.
    """
    per_text: dict[str, list[float]] = {"ours": [], "batched": [], "alone": []}
    differences: list[float] = []
    everything = texts()
    with random_clip() as encoder:
        encoder.encode_texts(everything[:64])
        for number in range(rounds):
            share = everything[number::rounds]
            seconds, ours = _timed(encoder.encode_texts, share)
            per_text["ours"].append(seconds / len(share))
            for name, count, size in (("batched", BATCHED, BATCHED), ("alone", ALONE, 1)):
                seconds, theirs = _timed(_open_clips_way(encoder, size), share[:count])
                per_text[name].append(seconds / count)
                differences.append(float((ours[:count] - theirs).abs().max()))
    ours_ms, batched_ms, alone_ms = (1000 * median(per_text[name]) for name in ("ours", "batched", "alone"))
    what = f"texts, {ENTRIES:,} lexicon entries and {SENTENCES:,} sentences, {MODEL}"
    return [
        Row(f"{what}; baseline: open_clip in batches of {BATCHED}", "ms a text", ours_ms, batched_ms, at_least=3.0),
        Row(f"{what}; baseline: one at a time", "ms a text", ours_ms, alone_ms, at_least=8.0),
        Row("texts, greatest difference of a feature", "1", max(differences), limit=TOLERANCE, at_most=1.0),
    ]


def _open_clips_way(encoder: ClipEncoder, size: int) -> Any:
    model, tokenizer = encoder._model, encoder._tokenizer

    def encode(given: list[str]) -> Tensor:
        with torch.inference_mode():
            parts = [model.encode_text(tokenizer(given[at : at + size])) for at in range(0, len(given), size)]
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    return encode


def _timed(encode: Any, given: list[str]) -> tuple[float, Tensor]:
    started = time.perf_counter()
    features: Tensor = encode(given)
    return time.perf_counter() - started, features


if __name__ == "__main__":
    print(table(run()))
    print(f"\n{machine()}")
