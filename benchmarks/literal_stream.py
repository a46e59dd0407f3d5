"""The test-time run as the public code works: everything that was seen is kept, and stacked again with every batch."""

import time
from collections import Counter
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import literal_scoring
from benchmarks.random_world import TEMPERATURE, RandomWorld, caption, look_alikes

GROUP = 100
CLASSES_ASKED, START, INTERVAL, UPDATES, WAITING, QUEUE = 40, 10, 40, 20, 200, 10_000


class LiteralStream:
    """Preset ``reference``, score ``far_only``: the same method, written for the page and not for the machine."""

    def __init__(self, world: RandomWorld) -> None:
        self._world = world
        self._names = world.names
        self._texts = torch.cat([world.classes, world.negatives])
        self._features: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._predicted: list[int] = []
        self._waiting: list[int] = []
        self._gamma, self._updates, self._batch, self._seen = 0.8, 0, 0, 0
        self._ens: list[str] = []
        self._ens_features = torch.empty(0, self._texts.shape[1])
        self._labels: dict[str, list[str]] = {}
        self._vsnl_features = torch.empty(0, self._texts.shape[1])

    def step(self, features: Tensor) -> NDArray[np.float32]:
        """Score one batch (N, D)."""
        self._batch += 1
        classes = len(self._names)
        both = literal_scoring.logits(features, self._texts, TEMPERATURE)
        initial = literal_scoring.grouped(both, classes, len(self._world.negatives) // GROUP)
        # the history is stacked anew
        self._features.append(features)
        self._scores.append(initial)
        history, scores = torch.cat(self._features), torch.cat(self._scores)
        self._predicted += both[:, :classes].argmax(dim=1).tolist()
        self._waiting += (self._seen + torch.nonzero(initial < self._gamma).flatten()).tolist()
        self._seen = len(history)
        if self._updates < UPDATES and len(self._waiting) > WAITING:
            self._describe(scores)
        if self._batch >= START and (self._batch - START) % INTERVAL == 0:
            self._look_alikes()
        far, _ = self._bank(features, self._ens_features, initial), self._bank(features, self._vsnl_features, initial)
        return np.asarray(far.numpy(), dtype=np.float32)

    def _describe(self, scores: Tensor) -> None:
        self._updates += 1
        new = [caption(number).strip().removesuffix(".") for number in self._waiting]
        # texts are encoded one at a time
        found = torch.cat([self._world.encode([text]) for text in new])
        self._ens_features = torch.cat([found, self._ens_features])[-QUEUE:]
        self._waiting = []
        values = scores.numpy()
        counts, edges = np.histogram(values, bins=np.arange(11) * 0.1)
        cut = edges[int(np.argmax(np.abs(np.diff(counts)))) + 1]
        low = values[values < np.float32(cut)]
        self._gamma = float(np.quantile(low if low.size else values, 0.5))

    def _look_alikes(self) -> None:
        top = [self._names[index] for index, _ in Counter(self._predicted).most_common(CLASSES_ASKED)]
        held = {name: labels for name, labels in self._labels.items() if name in top}
        for name in top:
            if name not in held:
                held[name] = [line.partition(". ")[2] for line in look_alikes(name).splitlines()]
        self._labels = held
        prompts = [f"The nice {label}." for labels in held.values() for label in labels]
        self._vsnl_features = torch.cat([self._world.encode([prompt]) for prompt in prompts])

    def _bank(self, features: Tensor, bank: Tensor, initial: Tensor) -> Tensor:
        if not len(bank):
            return initial
        texts = torch.cat([self._world.classes, bank])
        both = literal_scoring.logits(features, texts, TEMPERATURE)
        if len(bank) > GROUP:
            return literal_scoring.grouped(both, len(self._names), len(bank) // GROUP)
        return both.softmax(dim=1)[:, : len(self._names)].sum(dim=1)


def serve(pipe: Connection, sizes: tuple[int, int, int], pictures: int, batch_size: int, threads: int) -> None:
    """Step once per message, and answer with the seconds and the scores: a process of its own has memory of its own.

    Args:
        pipe: to whoever takes the time.
        sizes: ID classes, negatives, D.
        pictures: how many there are in all.
        batch_size: per message.
        threads: as many as the other side uses.
    """
    torch.set_num_threads(threads)
    world = RandomWorld.of(*sizes)
    stream, features = LiteralStream(world), world.pictures(pictures)
    pipe.send("ready")
    for start in range(0, pictures, batch_size):
        pipe.recv()
        began = time.perf_counter()
        scores = stream.step(features[start : start + batch_size])
        pipe.send((time.perf_counter() - began, scores))
