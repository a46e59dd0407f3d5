"""A seeded world of unit features in place of CLIP's: scoring takes the same time, and known and unknown come apart."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ants_engine.protocol import Call

TEMPERATURE = 0.01
KNOWN = 0.3
"""Share of the pictures that show an ID class."""
BLOCK = 10_000
POOL = 8192
"""Texts of the MLLM have one of so many features."""


def unit_rows(rows: int, dim: int, seed: int) -> Tensor:
    """Return (rows, dim) float32, L2-normalised, seeded."""
    made = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(made)


@dataclass(frozen=True, slots=True, eq=False)
class RandomWorld:
    """ID classes, negatives, a scripted MLLM and pictures; the unknown ones lean to where the negatives are."""

    classes: Tensor
    """(C, D)"""
    negatives: Tensor
    """(M, D)"""
    texts: Tensor
    """(POOL, D): features of what the MLLM says."""
    foreign: Tensor
    """(D,): the way that negatives and unknown pictures lean."""

    @classmethod
    def of(cls, classes: int, negatives: int, dim: int) -> "RandomWorld":
        """Make one; the same numbers make the same world in every process."""
        foreign = unit_rows(1, dim, 4)[0]
        return cls(
            unit_rows(classes, dim, 1),
            torch.nn.functional.normalize(unit_rows(negatives, dim, 2) + 0.3 * foreign),
            torch.nn.functional.normalize(unit_rows(POOL, dim, 3) + 0.3 * foreign),
            foreign,
        )

    @property
    def names(self) -> list[str]:
        """The ID classes' names."""
        return [f"class{index}" for index in range(len(self.classes))]

    def pictures(self, count: int) -> Tensor:
        """Return the features (count, D) of that many pictures, known and unknown mixed."""
        features = torch.empty(count, self.classes.shape[1])
        for start in range(0, count, BLOCK):
            # block by block, so that making them needs little memory beside them
            rows = features[start : start + BLOCK]
            seed = 100 + start // BLOCK
            noise = unit_rows(BLOCK, rows.shape[1], seed)[: len(rows)]
            random = torch.Generator().manual_seed(seed)
            known = torch.rand(BLOCK, generator=random)[: len(rows), None] < KNOWN
            shown = self.classes[torch.randint(len(self.classes), (BLOCK,), generator=random)[: len(rows)]]
            leaning = torch.where(known, 0.45 * shown, 0.6 * self.foreign)
            rows.copy_(torch.nn.functional.normalize(noise + leaning))
        return features

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (K, D): a text's feature depends on the text alone."""
        return self.texts[[zlib.crc32(text.encode()) % POOL for text in texts]]


def numbered_picture(number: int) -> NDArray[np.uint8]:
    """Return a tiny picture that shows its number in its colour."""
    return np.full((8, 8, 3), [number & 255, number >> 8 & 255, number >> 16 & 255], dtype=np.uint8)


def caption(number: int) -> str:
    """Return what the MLLM says of a picture."""
    return f"A thing with the number {number}."


def look_alikes(name: str) -> str:
    """Return what the MLLM says of a class: a numbered list."""
    return "\n".join(f"{place}. {name} twin {place}" for place in range(1, 6))


def answer(call: Call) -> str:
    """Answer either question at once."""
    if call.picture is None:
        words = call.prompt.replace(".", " ").split()
        return look_alikes(next(word for word in words if word.startswith("class")))
    with Image.open(io.BytesIO(call.picture.data)) as image:
        red, green, blue = np.asarray(image.convert("RGB"))[0, 0].astype(int)
    return caption(int(red + (green << 8) + (blue << 16)))
